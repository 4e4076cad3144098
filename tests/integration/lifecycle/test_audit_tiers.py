"""Audits of two tiers: what is in which, what is in the wrong one, and what is in none."""

from __future__ import annotations

import asyncio

import pytest

from libs.blobs import Blobs
from libs.contracts import ObjectAuditRequested, ObjectMissing, ObjectUnclaimed
from libs.contracts.keys import file_key
from services.lifecycle import metrics
from services.lifecycle.app import _set_gauges
from tests.integration.lifecycle.harness import Lifecycle, installed
from tests.integration.lifecycle.test_moving import found_in, given_model, tiers_of
from tests.integration.lifecycle.uploads import (
    NOON,
    PROJECT,
    dropped,
    keys_in,
    members,
    model_deleted,
    model_erased,
    registered,
)
from tests.support import emitted
from tests.support.stack import Stack


async def keys_of(lifecycle: Lifecycle, kind: type[ObjectUnclaimed | ObjectMissing]) -> list[str]:
    """The keys in all events of a kind so far."""
    return sorted(key for event in await emitted(lifecycle.pool) if isinstance(event, kind) for key in event.keys)


async def settle(lifecycle: Lifecycle) -> None:
    """Do the moves that are scheduled, and schedule none."""
    await lifecycle.move(cold_after_s=None)


async def test_it_counts_by_tier_and_says_sizes(tiered: Lifecycle) -> None:
    """Of what is stored, unclaimed, missing, and of what only deleted models have."""
    first, second, third = await given_model(tiered)
    other = members("up2", 1)[0]
    await tiered.blobs.put_bytes(other, b"x")
    await tiered.deliver(registered("up2", [other, third], model_id="gone"), model_deleted("gone"))
    await tiered.pool.execute("UPDATE object SET last_read_at = now() + interval '1 h' WHERE key = $1", first)
    await tiered.move()
    await tiered.blobs.delete([second])
    await tiered.blobs.tiers["cold"].put_bytes(file_key(PROJECT, "lost", 0, "a"), b"orphan")
    audited = await tiered.audit()
    assert (audited.objects, audited.size_bytes) == (4, 9)
    assert (audited.cold_objects, audited.cold_bytes) == (3, 8)
    assert (audited.unclaimed, audited.unclaimed_bytes) == (1, 6)
    assert (audited.missing, audited.missing_bytes) == (1, 1)
    assert (audited.expiring, audited.expiring_bytes) == (1, 1)
    assert (audited.leftovers, audited.misplaced, audited.stopped) == (0, 0, None)
    await _set_gauges(tiered.pool)
    shown = {tier: metrics.objects_stored.labels(tier)._value.get() for tier in ("hot", "cold")}
    assert shown == {"hot": 1, "cold": 3}
    assert [metrics.objects_unclaimed_bytes._value.get(), metrics.objects_missing_bytes._value.get()] == [6, 1]


@pytest.mark.parametrize("named", ["hot", "cold"])
async def test_a_second_copy_is_removed_after_the_grace_time(tiered: Lifecycle, named: str) -> None:
    """Never the one that the row names, which readers go on to find."""
    keys = await given_model(tiered)
    if named == "cold":
        await tiered.move()
    for bucket in tiered.blobs.tiers.values():
        await bucket.put_bytes(keys[0], b"x")
    young = await tiered.audit(unclaimed_files_after_s=60)
    assert (young.leftovers, young.objects, await tiered.pool.fetchval("SELECT count(*) FROM move")) == (0, 3, 0)
    old = await tiered.audit()
    assert (old.leftovers, old.leftover_bytes, old.objects, old.unclaimed) == (1, 1, 3, 0)
    await settle(tiered)
    other = "cold" if named == "hot" else "hot"
    assert await found_in(tiered) == {named: set(keys), other: set()}
    clean = await tiered.audit()
    assert (clean.leftovers, clean.missing, clean.misplaced, clean.unclaimed) == (0, 0, 0, 0)


async def test_a_second_copy_stays_where_the_first_one_is_damaged(tiered: Lifecycle) -> None:
    """Of two copies of different sizes none is deleted: a person has to look."""
    [key] = await given_model(tiered, 1)
    await tiered.blobs.tiers["hot"].put_bytes(key, b"")
    await tiered.blobs.tiers["cold"].put_bytes(key, b"x")
    await tiered.pool.execute(
        "INSERT INTO move (key, project_id, tier, reason, size_bytes) VALUES ($1, $2, 'hot', 'leftover', 1)",
        key,
        PROJECT,
    )
    await settle(tiered)
    assert await found_in(tiered) == {"hot": {key}, "cold": {key}}


async def test_an_object_in_the_other_tier_is_not_missing(tiered: Lifecycle) -> None:
    """The row is corrected; nothing is copied or told as missing."""
    keys = await given_model(tiered)
    await tiered.move()
    await tiered.pool.execute("UPDATE object SET tier = 'hot'")
    audited = await tiered.audit()
    assert (audited.misplaced, audited.missing, audited.cold_objects) == (3, 0, 3)
    await settle(tiered)
    assert await tiers_of(tiered, keys) == {"cold"}
    assert await keys_of(tiered, ObjectMissing) == []
    assert (await tiered.audit()).misplaced == 0
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys)}


async def test_what_is_on_its_way_is_neither_left_over_nor_misplaced(tiered: Lifecycle) -> None:
    """The move that is under way ends it."""
    keys = await given_model(tiered)
    for key in keys[:2]:
        await tiered.blobs.tiers["cold"].put_bytes(key, b"x")
    await tiered.blobs.tiers["hot"].delete([keys[1]])
    await tiered.pool.execute(
        "INSERT INTO move (key, project_id, tier, reason, size_bytes)"
        " SELECT key, project_id, 'cold', 'unread', 1 FROM object"
    )
    audited = await tiered.audit()
    assert (audited.leftovers, audited.misplaced, audited.missing) == (0, 0, 0)
    await settle(tiered)
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys)}


async def test_a_live_object_that_no_model_has_is_asked_about(lifecycle: Lifecycle) -> None:
    """Its object.dropped was lost, or became a dead letter; the registry says again that it may go."""
    keys = await given_model(lifecycle)
    shared = members("up2", 1)[0]
    await lifecycle.blobs.put_bytes(shared, b"x")
    await lifecycle.deliver(registered("up2", [shared, keys[0]], model_id="gone"), model_erased("gone"))
    await lifecycle.purge()
    audited = await lifecycle.audit()
    assert (audited.unclaimed, audited.unclaimed_bytes) == (1, 1)
    assert await keys_of(lifecycle, ObjectUnclaimed) == [shared]
    await lifecycle.deliver(dropped(shared))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(keys)


async def test_a_cold_tier_that_is_forgotten_stops_the_audit(tiered: Lifecycle, blobs: Blobs) -> None:
    """A setting went missing: the objects there are not taken for lost."""
    await given_model(tiered)
    await tiered.move()
    tiered.blobs = blobs
    audited = await tiered.audit()
    assert audited.stopped is not None
    assert "SLIPWAY_S3_COLD_URL" in audited.stopped
    assert await keys_of(tiered, ObjectMissing) == []


async def test_a_cold_tier_that_is_away_postpones_the_audit(tiered: Lifecycle, stack: Stack, namespace: str) -> None:
    """Nothing is taken for missing because one of two stores did not answer."""
    await given_model(tiered)
    await tiered.move()
    await tiered.deliver(ObjectAuditRequested(at=NOON))
    await tiered.ownership().stopped()
    hot = stack.bucket_url(namespace)
    async with Blobs.open(hot, cold_url="http://key:secret@127.0.0.1:9/cold") as half:
        tiered.blobs = half
        assert await tiered.audit_worker().next_slice(asyncio.Event())
    assert await tiered.audited() == []
    assert await tiered.pool.fetchval("SELECT count(*) FROM object WHERE missing_since IS NOT NULL") == 0


async def test_the_cold_bucket_of_another_installation_stops_everything(
    tiered: Lifecycle, stack: Stack, namespace: str
) -> None:
    """Two installations with one cold bucket by mistake: the second moves and deletes nothing."""
    hot, cold = stack.bucket_url(f"{namespace}second"), stack.bucket_url(f"{namespace}cold")
    await given_model(tiered)
    await tiered.move()
    async with Blobs.open(hot, cold_url=cold) as both, installed(stack, both, f"{namespace}other") as second:
        for key in members("theirs", 2):
            await both.put_bytes(key, b"x")
        await second.deliver(registered("theirs", members("theirs", 2)), dropped(members("theirs", 1)[0]))
        await second.move()
        assert not await second.purge_worker().purge_next(asyncio.Event())
        stopped = (await second.audit()).stopped
        assert stopped is not None
        assert "SLIPWAY_S3_COLD_URL" in stopped
        assert await keys_in(both) == set(members("theirs", 2))
    assert len((await found_in(tiered))["cold"]) == 3
    stack.remove_bucket(f"{namespace}second")


async def test_multipart_uploads_that_nobody_goes_on_with_are_aborted(tiered: Lifecycle) -> None:
    """In both tiers, after the grace time: of live objects at once, of others when the registry drops them."""
    [live] = await given_model(tiered, 1)
    lost = file_key(PROJECT, "lost", 0, "a")
    for bucket in tiered.blobs.tiers.values():
        for key in (live, lost, f"{lost}b", "somebody/else"):
            await bucket.begin_multipart(key)

    async def begun() -> list[str]:
        buckets = tiered.blobs.tiers.values()
        return sorted([each.key for bucket in buckets async for each in bucket.multiparts()])

    everything = sorted([live, lost, f"{lost}b", "somebody/else"] * 2)
    await tiered.audit(unclaimed_files_after_s=60)
    assert await begun() == everything
    await tiered.audit()
    assert await keys_of(tiered, ObjectUnclaimed) == [lost, f"{lost}b"]
    assert await begun() == [key for key in everything if key != live]
    await tiered.deliver(dropped(lost))
    await tiered.purge()
    assert await begun() == sorted([f"{lost}b", "somebody/else"] * 2)
    assert (await tiered.audit()).missing == 0
