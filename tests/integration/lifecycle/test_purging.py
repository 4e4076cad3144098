"""Workers delete what is to be deleted, all of it, and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from libs.blobs import Blobs
from libs.contracts import ObjectDeleted, encode_event
from libs.contracts.keys import member_key, objects_prefix, part_key
from libs.db import connection
from libs.errors import Unavailable
from services.lifecycle.store import purges
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import (
    NOON,
    PROJECT,
    aborted,
    dropped,
    given_upload,
    keys_in,
    members,
    registered,
    state_of,
)
from tests.support import emitted
from tests.support.stack import Stack


async def test_an_upload_without_a_model_leaves_nothing(lifecycle: Lifecycle) -> None:
    """Parts, files and incomplete multipart uploads go; another upload's stay, although its id begins the same."""
    upload_id = await given_upload(lifecycle.blobs)
    other = await given_upload(lifecycle.blobs, upload_id=upload_id + "0")
    await lifecycle.blobs.begin_multipart(member_key(PROJECT, upload_id, 0, 1, 7))
    await lifecycle.deliver(aborted(upload_id))
    await lifecycle.purge()
    assert {key.split("/")[2] for key in await keys_in(lifecycle.blobs)} == {other}
    assert await lifecycle.blobs.abort_multiparts(objects_prefix(PROJECT, upload_id)) == 0


async def test_a_registered_model_keeps_its_files_and_no_more(lifecycle: Lifecycle) -> None:
    """Parts go after the model is registered, and so do copies of what the project had already."""
    upload_id = await given_upload(lifecycle.blobs, files=5)
    kept = members(upload_id)[:2]
    await lifecycle.deliver(registered(upload_id, kept))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(kept)


async def test_a_file_that_a_later_model_shares_stays(lifecycle: Lifecycle) -> None:
    """The second model's upload brought nothing new; deleting the first model drops only what the second has not."""
    first = await given_upload(lifecycle.blobs, files=2)
    [shared, own] = members(first, 2)
    second = await given_upload(lifecycle.blobs, files=2)
    await lifecycle.deliver(registered(second, [shared]), registered(first, [shared, own]), dropped(own))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == {shared}


async def test_who_was_still_writing_is_met_by_a_later_pass(lifecycle: Lifecycle) -> None:
    """An extractor that has not heard of the abort yet writes on; the second pass sees it."""
    upload_id = await given_upload(lifecycle.blobs)
    await lifecycle.deliver(aborted(upload_id))
    worker, stop = lifecycle.purge_worker(), asyncio.Event()
    assert await worker.purge_next(stop)
    assert await worker.purge_next(stop)
    assert await keys_in(lifecycle.blobs) == set()
    assert not await worker.purge_next(stop)  # the next pass has its time
    await given_upload(lifecycle.blobs, upload_id=upload_id)
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_passes_come_at_once_and_after_each_pause(lifecycle: Lifecycle) -> None:
    """0 s, 5 s, 60 s by default."""
    await lifecycle.deliver(dropped(f"{PROJECT}/objects/up/f1-a"))
    worker, pauses = lifecycle.purge_worker(), []
    while await worker.purge_next(asyncio.Event()):
        pauses.append(await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM purge"))
        await lifecycle.pool.execute("UPDATE purge SET due_at = now()")
    assert [round(pause, 0) for pause in pauses[:-1]] == [5, 60]
    assert pauses[-1] is None


async def test_a_worker_that_dies_is_replaced_after_its_lease(lifecycle: Lifecycle) -> None:
    """Killed between deleting and saying so: the next worker says it."""
    upload_id = await given_upload(lifecycle.blobs, parts=1, files=0)
    key = part_key(PROJECT, upload_id, 0, 0, "attempt")
    await lifecycle.deliver(aborted(upload_id))
    dying = lifecycle.purge_worker()
    told = lifecycle.pool.execute("UPDATE purge SET leased_by = 'dead', lease_until = now() + interval '1 minute'")
    await told
    assert not await dying.purge_next(asyncio.Event())
    await lifecycle.pool.execute(
        "INSERT INTO object (key, project_id, state, reason, changed_at) VALUES ($1, $2, 'dropped', 'aborted', now())",
        key,
        PROJECT,
    )
    await lifecycle.blobs.delete([key])
    await lifecycle.pool.execute("UPDATE purge SET lease_until = now() - interval '1 second'")
    await lifecycle.purge()
    assert await state_of(lifecycle.pool, key) == "deleted"
    [event] = await emitted(lifecycle.pool)
    assert isinstance(event, ObjectDeleted)
    assert event.keys == [key]


async def test_two_workers_share_the_purges(lifecycle: Lifecycle) -> None:
    """SKIP LOCKED: neither waits for the other, each purge is done by one of them at a time."""
    uploads = [await given_upload(lifecycle.blobs, files=1, parts=1) for _ in range(6)]
    await lifecycle.deliver(*(aborted(upload_id) for upload_id in uploads))
    workers, stop = [lifecycle.purge_worker() for _ in range(3)], asyncio.Event()
    for _ in range(4):
        assert all(await asyncio.gather(*(worker.purge_next(stop) for worker in workers)))
    assert await keys_in(lifecycle.blobs) == set()
    assert not await workers[0].purge_next(stop)


async def test_storage_that_is_away_delays_a_purge(lifecycle: Lifecycle, stack: Stack) -> None:
    """The purge is put back with a backoff, and done when storage is there again."""
    upload_id = await given_upload(lifecycle.blobs)
    worker, stop = lifecycle.purge_worker(), asyncio.Event()
    assert not await worker.purge_next(stop)  # it knows now whose bucket it is
    await lifecycle.deliver(aborted(upload_id))
    await stack.stop("s3")
    with pytest.raises(Unavailable):
        await lifecycle.purge_worker().purge_next(stop)  # this one does not
    assert await worker.purge_next(stop)
    [failed] = await lifecycle.pool.fetch("SELECT failures, leased_by FROM purge WHERE failures > 0")
    assert tuple(failed) == (1, None)
    await stack.start("s3")
    await lifecycle.pool.execute("UPDATE purge SET failures = 0")
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_a_stopping_worker_gives_its_purge_back(lifecycle: Lifecycle) -> None:
    """Whoever comes next need not wait for the lease to run out."""
    upload_id = await given_upload(lifecycle.blobs)
    await lifecycle.deliver(aborted(upload_id))
    stop = asyncio.Event()
    stop.set()
    await lifecycle.purge_worker().purge_next(stop)
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge WHERE leased_by IS NULL AND due_at <= now()") == 2


async def test_events_of_large_purges_stay_small(lifecycle: Lifecycle) -> None:
    """A thousand parts are told of in several events, each far below what the broker takes."""
    await given_upload(lifecycle.blobs, parts=1000, files=0, upload_id="up")
    await lifecycle.deliver(aborted("up"))
    await lifecycle.purge()
    events = await emitted(lifecycle.pool)
    assert sum(len(event.keys) for event in events if isinstance(event, ObjectDeleted)) == 1000
    assert max(len(encode_event(event)) for event in events) < 512 * 1024


async def test_a_signal_starts_a_purge_at_once(lifecycle: Lifecycle) -> None:
    """The handler's commit wakes the worker, which otherwise looks but once a minute."""
    lifecycle.config = msgspec.structs.replace(lifecycle.config, poll_s=60)
    stop = asyncio.Event()
    running = asyncio.create_task(lifecycle.purge_worker().run(stop))
    upload_id = await given_upload(lifecycle.blobs)
    async with asyncio.timeout(20):
        with lifecycle.signals.subscribe("outbox") as told:
            await lifecycle.deliver(aborted(upload_id))
            while await keys_in(lifecycle.blobs):
                await told.wait(20)
        stop.set()
        await running


async def test_workers_start_and_stop_at_any_time(lifecycle: Lifecycle) -> None:
    """Fifty starts, stopped at random moments of their work: everything is purged in the end, nothing registered is."""
    rng = random.Random(7)
    kept: set[str] = set()
    for _ in range(50):
        upload_id = await given_upload(lifecycle.blobs, files=2, parts=1)
        [keep, _left] = members(upload_id, 2)
        kept.add(keep)
        await lifecycle.deliver(registered(upload_id, [keep]))
        stop = asyncio.Event()
        running = [asyncio.create_task(lifecycle.purge_worker().run(stop)) for _ in range(2)]
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.02), stop.set)
        async with asyncio.timeout(20):
            await asyncio.gather(*running)
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge WHERE leased_by IS NOT NULL") == 0
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == kept


async def test_the_same_scheduled_twice_is_one_row(lifecycle: Lifecycle) -> None:
    """By two handlers at once, too: repeats collapse, and all passes begin anew."""
    upload_id = await given_upload(lifecycle.blobs)
    keys = members(upload_id)
    for _ in range(2):
        await asyncio.gather(
            *(lifecycle.deliver(aborted(upload_id)) for _ in range(4)),
            *(lifecycle.deliver(dropped(*order)) for order in (keys, keys[::-1], keys, keys)),
        )
        assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge") == 3
        await lifecycle.pool.execute("UPDATE purge SET pass = 1")
    await lifecycle.deliver(aborted(upload_id))
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge WHERE pass = 0") == 2
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_scheduled_again_in_its_last_pass_it_has_all_passes_again(lifecycle: Lifecycle) -> None:
    """Whoever works on it does not take the row away from under the second event."""
    await lifecycle.deliver(dropped(f"{PROJECT}/objects/up/f1-a"))
    await lifecycle.pool.execute("UPDATE purge SET pass = 2")
    async with connection(lifecycle.pool) as tx:
        purge = await purges.claim(tx, "worker", 60)
        assert purge is not None
        assert purge.pass_number == 2
        await lifecycle.deliver(dropped(f"{PROJECT}/objects/up/f1-a"))
        assert not await purges.finish(tx, purge)
        await purges.end_pass(tx, purge, next_in_s=60)
    [row] = await lifecycle.pool.fetch("SELECT pass, leased_by, due_at <= now() FROM purge")
    assert tuple(row) == (0, None, True)


async def test_rows_of_the_previous_release_are_purged_too(lifecycle: Lifecycle) -> None:
    """It writes no `target`, and the same prefix twice."""
    upload_id = await given_upload(lifecycle.blobs, files=0)
    for _ in range(2):
        await lifecycle.pool.execute(
            "INSERT INTO purge (project_id, prefix, reason, due_at) VALUES ($1, $2, 'upload.aborted.v1', now())",
            PROJECT,
            f"{PROJECT}/uploads/{upload_id}/",
        )
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_projects_take_turns(lifecycle: Lifecycle) -> None:
    """One that drops forty models does not keep another's single one waiting; nor do purges that are not due."""
    turns: list[str] = []
    async with connection(lifecycle.pool) as tx:
        for number in range(40):
            await purges.schedule_keys(tx, "proj_a", [f"proj_a/objects/{number}/a"], reason="", at=NOON)
        for project in ("proj_b", "proj_c"):
            await purges.schedule_keys(tx, project, [f"{project}/objects/up/a"], reason="", at=NOON)
        await tx.execute("UPDATE purge SET due_at = now() + interval '1 h' WHERE project_id = 'proj_b'")
        while len(turns) < 5:
            claimed = await purges.claim(tx, "worker", 60, after_project=turns[-1] if turns else "")
            assert claimed is not None
            turns.append(claimed.project_id)

    assert turns == ["proj_a", "proj_c", "proj_a", "proj_a", "proj_a"]


async def test_a_large_purge_is_done_in_turns(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many deletions others have their turn; the pass goes on afterwards, and counts as one."""
    monkeypatch.setattr("services.lifecycle.purge_worker.TURN_GROUPS", 1)
    lifecycle.config = msgspec.structs.replace(lifecycle.config, purge_pauses_s="3600,3600")
    upload_id = await given_upload(lifecycle.blobs, parts=900, files=0)
    await lifecycle.deliver(aborted(upload_id))
    worker, turns = lifecycle.purge_worker(), []
    while await worker.purge_next(asyncio.Event()):
        turns.append(len(await keys_in(lifecycle.blobs)))
    assert sorted(set(turns), reverse=True)[-3:] == [500, 100, 0]
    assert await lifecycle.pool.fetchval("SELECT array_agg(pass) FROM purge") == [1, 1]


async def test_what_storage_refuses_for_ever_holds_nothing_up(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object of a batch: the others go, the purge waits longer each time, and other purges are done meanwhile."""
    upload_id, other = await given_upload(lifecycle.blobs), await given_upload(lifecycle.blobs)
    locked = members(upload_id)[1]
    delete = Blobs.delete

    async def refuse(blobs: Blobs, keys: list[str]) -> None:
        if locked in keys:
            raise Unavailable("Object storage answered 403 AccessDenied to DELETE.")
        await delete(blobs, keys)

    monkeypatch.setattr(Blobs, "delete", refuse)
    await lifecycle.deliver(aborted(upload_id), aborted(other))
    worker, pauses = lifecycle.purge_worker(), []
    while await worker.purge_next(asyncio.Event()):
        pass
    assert await keys_in(lifecycle.blobs) == {locked}
    assert await state_of(lifecycle.pool, locked) == "dropped"
    assert await state_of(lifecycle.pool, members(upload_id)[0]) == "deleted"
    for _ in range(14):
        await lifecycle.pool.execute("UPDATE purge SET due_at = now() WHERE failures > 0")
        assert await worker.purge_next(asyncio.Event())
        pauses.append(
            await lifecycle.pool.fetchval(
                "SELECT extract(epoch FROM due_at - now())::float FROM purge WHERE failures > 0"
            )
        )
    assert [round(pause) for pause in pauses[:5]] == [2, 4, 8, 16, 32]
    assert [round(pause) for pause in pauses[-2:]] == [3600, 3600]
    told = [key for event in await emitted(lifecycle.pool) if isinstance(event, ObjectDeleted) for key in event.keys]
    assert locked not in told
    assert len(told) == len(set(told)) == 9
