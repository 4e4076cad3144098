"""Objects that nobody reads move to the cold tier, and stay readable whatever happens on the way."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from libs.blobs import Blobs, Removal
from libs.contracts import ObjectMoved, ObjectsRead, Tier
from libs.contracts.keys import file_key
from libs.errors import ObjectNotFound, Unavailable
from services.lifecycle.reads import ReadObjects
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import PROJECT, dropped, keys_in, members, registered, stored
from tests.support import emitted
from tests.support.stack import Stack

TIERS: tuple[Tier, Tier] = ("hot", "cold")


async def given_model(lifecycle: Lifecycle, files: int = 3, *, upload_id: str = "up") -> list[str]:
    """A registered model whose objects are in the hot tier. Returns its keys."""
    keys = members(upload_id, files)
    for key in keys:
        await lifecycle.blobs.put_bytes(key, b"x")
    await lifecycle.deliver(registered(upload_id, keys))
    await lifecycle.purge()
    return sorted(keys)


async def found_in(lifecycle: Lifecycle) -> dict[Tier, set[str]]:
    """What each tier has."""
    return {tier: await keys_in(bucket) for tier, bucket in lifecycle.blobs.tiers.items()}


async def tiers_of(lifecycle: Lifecycle, keys: list[str]) -> set[str]:
    """The tiers that the rows name."""
    rows = await lifecycle.pool.fetch("SELECT DISTINCT tier FROM object WHERE key = ANY($1)", keys)
    return {row["tier"] for row in rows}


async def moved(lifecycle: Lifecycle) -> list[tuple[Tier, str]]:
    """What object.moved has told, each key as often as it was told."""
    events = [event for event in await emitted(lifecycle.pool) if isinstance(event, ObjectMoved)]
    return [(event.tier, key) for event in events for key in sorted(event.keys)]


async def test_what_is_not_read_moves_to_the_cold_tier(tiered: Lifecycle) -> None:
    """And is read from there by whoever does not know."""
    keys = await given_model(tiered)
    await tiered.move()
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys)}
    assert await tiers_of(tiered, keys) == {"cold"}
    assert await moved(tiered) == [("cold", key) for key in keys]
    assert await tiered.blobs.read(keys[0], 0, 10) == b"x"
    info = await tiered.blobs.head(keys[0])
    assert info is not None
    assert info.size_bytes == 1
    assert await tiered.pool.fetchval("SELECT count(*) FROM move") == 0


async def test_what_was_read_lately_stays(tiered: Lifecycle) -> None:
    """As does everything where the setting is absent."""
    keys = await given_model(tiered)
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '2 days' WHERE key = $1", keys[0])
    await tiered.move(cold_after_s=None)
    assert await found_in(tiered) == {"hot": set(keys), "cold": set()}
    await tiered.move(cold_after_s=86_400)
    assert await found_in(tiered) == {"hot": set(keys[1:]), "cold": {keys[0]}}


async def test_projects_take_turns(tiered: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects one project has, a round takes some of each."""
    monkeypatch.setattr("services.lifecycle.store.moves.OBJECTS_AT_ONCE", 2)
    await given_model(tiered, 7)
    other = "proj_B"
    key = file_key(other, "up", 0, "a")
    await tiered.blobs.put_bytes(key, b"x")
    await tiered.pool.execute(
        "INSERT INTO object (key, project_id, size_bytes, sha256, state, registered_at, changed_at)"
        " VALUES ($1, $2, 1, $3, 'live', now(), now())",
        key,
        other,
        stored(key).sha256,
    )
    worker = tiered.move_worker()
    assert await worker.move_next(asyncio.Event())
    scheduled = await tiered.pool.fetch("SELECT project_id, count(*) FROM move GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in scheduled] == [(PROJECT, 2), (other, 1)]


async def test_a_dropped_object_goes_from_both_tiers(tiered: Lifecycle) -> None:
    """Wherever it is, and if it is in both."""
    first, second, third = await given_model(tiered)
    await tiered.pool.execute("UPDATE object SET last_read_at = now() + interval '1 day' WHERE key = $1", first)
    await tiered.move()
    await tiered.blobs.tiers["hot"].put_bytes(third, b"x")
    await tiered.deliver(dropped(first, second, third))
    await tiered.purge()
    assert await found_in(tiered) == {"hot": set(), "cold": set()}


async def test_an_object_dropped_during_its_move_leaves_nothing(
    tiered: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The purge has passed before the copy is there."""
    keys = await given_model(tiered)

    async def copied_late(source: Blobs, target: Blobs, key: str, **named: object) -> None:
        if key == keys[0]:
            await tiered.deliver(dropped(*keys))
            await tiered.purge()
        await target.put_bytes(key, b"x")

    monkeypatch.setattr("services.lifecycle.move_worker.transfer", copied_late)
    await tiered.move()
    assert await found_in(tiered) == {"hot": set(), "cold": set()}
    assert await moved(tiered) == []
    with pytest.raises(ObjectNotFound):
        await tiered.blobs.read(keys[0], 0, 1)


async def test_content_that_is_not_what_was_registered_is_not_moved(tiered: Lifecycle) -> None:
    """A copy is compared with the registered size, and where its bytes come this way with the registered SHA-256.

    The original stays (`tests/integration/blobs/test_tiers.py` has the other cases).
    """
    keys = await given_model(tiered, 2)
    await tiered.blobs.put_bytes(keys[0], b"other")
    worker = tiered.move_worker()
    assert await worker.move_next(asyncio.Event())
    assert await worker.move_next(asyncio.Event())
    assert await found_in(tiered) == {"hot": {keys[0]}, "cold": {keys[1]}}
    failures, due_in_s = await tiered.pool.fetchrow(
        "SELECT failures, extract(epoch FROM due_at - now())::float FROM move WHERE key = $1", keys[0]
    )
    assert failures == 1
    assert due_in_s > 50


async def test_an_object_rests_after_its_move(tiered: Lifecycle) -> None:
    """Before it moves again a DELETE that somebody may still send has long expired."""
    keys = await given_model(tiered)
    await tiered.move()
    await tiered.pool.execute("UPDATE object SET tier = 'hot'")
    await tiered.move(move_rest_s=3600)
    assert await tiered.pool.fetchval("SELECT count(*) FROM move") == 0
    await tiered.pool.execute("UPDATE object SET moved_at = now() - interval '1 hour'")
    await tiered.move(move_rest_s=3600)
    assert await tiers_of(tiered, keys) == {"cold"}


@pytest.mark.parametrize("still_live", [True, False])
async def test_what_a_killed_process_had_begun_to_copy_is_aborted(tiered: Lifecycle, still_live: bool) -> None:
    """Parts of a copy in the cold tier; not those of another object, whose name begins with the same."""
    keys = await given_model(tiered, 11)
    cold = tiered.blobs.tiers["cold"]
    killed, other = members("up", 11)[1], members("up", 11)[10]
    assert other.startswith(killed)
    for key in (killed, other):
        await cold.begin_multipart(key)
    await tiered.pool.execute(
        "INSERT INTO move (key, project_id, tier, reason, size_bytes, fence) VALUES ($1, $2, 'cold', 'unread', 1, 1)",
        killed,
        PROJECT,
    )
    if not still_live:
        await tiered.deliver(dropped(killed))
    await tiered.move(cold_after_s=None)
    assert await cold.abort_multiparts("") == 1
    assert killed in (await found_in(tiered))["cold" if still_live else "hot"] or not still_live
    assert len(keys) == 11


async def told(lifecycle: Lifecycle, *keys: str, **settings: object) -> None:
    """Other services have read these objects."""
    reads = ReadObjects(lifecycle.pool, lifecycle.dependencies(**({"move_rest_s": 0} | settings)).config)
    await reads.receive(msgspec.json.encode(ObjectsRead(keys=[*keys])))
    await reads.write()


async def test_what_is_read_in_the_cold_tier_moves_back(tiered: Lifecycle) -> None:
    """And stays in the hot one; the others stay where they are, as does all of them without the setting."""
    keys = await given_model(tiered)
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '40 days'")
    await tiered.move()
    await told(tiered, keys[0], promote_on_read=False)
    await tiered.move(cold_after_s=86_400)
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys)}
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '40 days'")
    await told(tiered, keys[0], keys[0], "proj_b/objects/up/unknown")
    await tiered.move(cold_after_s=86_400)
    assert await found_in(tiered) == {"hot": {keys[0]}, "cold": set(keys[1:])}
    assert (await moved(tiered))[3:] == [("hot", keys[0])]
    assert await tiered.blobs.read(keys[0], 0, 1) == b"x"


async def test_the_cold_tier_can_be_emptied(tiered: Lifecycle) -> None:
    """To give it up: everything comes back, read or not, and nothing goes there any more."""
    keys = await given_model(tiered)
    await tiered.move()
    await tiered.move(empty_cold=True)
    assert await found_in(tiered) == {"hot": set(keys), "cold": set()}
    assert await tiers_of(tiered, keys) == {"hot"}


async def test_reads_are_recorded_once_an_hour(tiered: Lifecycle) -> None:
    """However many processes tell of them; and they keep an object in the hot tier."""
    [key] = await given_model(tiered, 1)
    ages = "SELECT extract(epoch FROM now() - last_read_at)::float FROM object"
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '50 minutes'")
    await told(tiered, key)
    assert await tiered.pool.fetchval(ages) > 2900
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '40 days'")
    await told(tiered, key)
    await told(tiered, key)
    assert await tiered.pool.fetchval(ages) < 60
    await tiered.move(cold_after_s=86_400)
    assert await found_in(tiered) == {"hot": {key}, "cold": set()}


async def test_reads_wait_while_the_database_is_away(tiered: Lifecycle, stack: Stack) -> None:
    [key] = await given_model(tiered, 1)
    await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '40 days'")
    reads = ReadObjects(tiered.pool, tiered.config)
    await reads.receive(msgspec.json.encode(ObjectsRead(keys=[key])))
    await stack.stop("postgres")
    with pytest.raises(Unavailable):
        await reads.write()
    await stack.start("postgres")
    await reads.write()
    assert await tiered.pool.fetchval("SELECT last_read_at > now() - interval '1 hour' FROM object")


async def test_whoever_wakes_up_too_late_deletes_nothing(tiered: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is paused before its last request, loses the move, and the object is moved back meanwhile."""
    monkeypatch.setattr("services.lifecycle.move_worker.REMOVAL_VALID_S", 1)
    [key] = await given_model(tiered, 1)
    removed = Blobs.remove

    async def late(bucket: Blobs, removal: Removal) -> None:
        monkeypatch.setattr(Blobs, "remove", removed)
        await tiered.pool.execute("UPDATE move SET lease_until = now() - interval '1 s'")
        await tiered.move(cold_after_s=None)
        assert await found_in(tiered) == {"hot": set(), "cold": {key}}
        await told(tiered, key)
        await tiered.move(cold_after_s=None)
        assert await found_in(tiered) == {"hot": {key}, "cold": set()}
        await asyncio.sleep(2)  # until the signature has expired: the store's clock decides
        await removed(bucket, removal)

    monkeypatch.setattr(Blobs, "remove", late)
    worker = tiered.move_worker()
    assert await worker.move_next(asyncio.Event())
    assert await worker.move_next(asyncio.Event())
    assert await found_in(tiered) == {"hot": {key}, "cold": set()}
    assert await tiered.blobs.read(key, 0, 1) == b"x"
