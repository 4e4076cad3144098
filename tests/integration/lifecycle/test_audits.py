"""Audits: storage and the tables are compared, slice by slice, and what differs is asked about or reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from libs.contracts import Event, ObjectAuditRequested, ObjectFound, ObjectMissing, ObjectUnclaimed
from libs.contracts.keys import file_key, part_key, staged_key
from services.lifecycle import metrics
from services.lifecycle.store import objects
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


async def keys_of(lifecycle: Lifecycle, kind: type[ObjectUnclaimed | ObjectMissing | ObjectFound]) -> list[str]:
    """The keys in all events of a kind so far, in order of keys, each as often as it was in one."""
    return sorted(key for event in await emitted(lifecycle.pool) if isinstance(event, kind) for key in event.keys)


async def given_model(lifecycle: Lifecycle, files: int) -> list[str]:
    """A registered model whose objects are all in storage, and nothing else of its upload. Returns its keys."""
    upload_id = await given_upload(lifecycle.blobs, files=files, parts=0)
    await lifecycle.deliver(registered(upload_id, members(upload_id, files)))
    await lifecycle.purge()
    return sorted(members(upload_id, files))


async def test_what_no_event_named_is_asked_about(lifecycle: Lifecycle) -> None:
    """Neither what is live, nor what is about to be purged, nor anything of a project that no event named."""
    await given_model(lifecycle, 3)
    ending = await given_upload(lifecycle.blobs)
    await lifecycle.deliver(aborted(ending))
    going = file_key(PROJECT, "up", 0, "a")
    await lifecycle.blobs.put_bytes(going, b"x")
    await lifecycle.deliver(dropped(going))
    await lifecycle.pool.execute("UPDATE object SET changed_at = now() WHERE state = 'dropped'")
    lost, elsewhere = file_key(PROJECT, "lost", 0, "a"), file_key("proj_b", "lost", 0, "a")
    for key in (lost, elsewhere):
        await lifecycle.blobs.put_bytes(key, b"x")
    audited = await lifecycle.audit()
    assert await keys_of(lifecycle, ObjectUnclaimed) == [lost]
    assert (audited.unclaimed, audited.keys, audited.foreign, audited.stopped) == (1, [lost], 1, None)
    assert (audited.objects, audited.size_bytes, audited.missing) == (10, 10, 0)
    assert {lost, elsewhere} <= await keys_in(lifecycle.blobs), "asking deletes nothing"


async def test_the_registrys_answer_removes_it(lifecycle: Lifecycle) -> None:
    """Also what came back after it was deleted: a writer that was stuck for longer than the last pass."""
    upload_id = await given_upload(lifecycle.blobs, files=1, parts=0)
    [key] = members(upload_id, 1)
    await lifecycle.deliver(aborted(upload_id))
    await lifecycle.purge()
    await lifecycle.blobs.put_bytes(key, b"late")
    await lifecycle.audit()
    assert await keys_of(lifecycle, ObjectUnclaimed) == [key]
    await lifecycle.deliver(dropped(key))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_what_is_not_answered_is_asked_again_after_growing_pauses(lifecycle: Lifecycle) -> None:
    """An upload that takes days is not asked about in every audit; an operator's audit asks at once."""
    await given_model(lifecycle, 1)
    lost = part_key(PROJECT, "open", 0, 0, "a")
    await lifecycle.blobs.put_bytes(lost, b"x")
    for asked in (1, 1):
        await lifecycle.audit()
        assert await keys_of(lifecycle, ObjectUnclaimed) == [lost] * asked
    pauses = []
    for asked in range(2, 8):
        await lifecycle.pool.execute("UPDATE unclaimed SET ask_at = now()")
        await lifecycle.audit()
        assert await keys_of(lifecycle, ObjectUnclaimed) == [lost] * asked
        pauses.append(await lifecycle.pool.fetchval("SELECT extract(epoch FROM ask_at - now()) / 3600 FROM unclaimed"))
    assert [round(pause) for pause in pauses] == [2, 4, 8, 16, 24, 24]
    await lifecycle.audit(fix=True)
    assert await keys_of(lifecycle, ObjectUnclaimed) == [lost] * 8


async def test_what_is_claimed_meanwhile_is_not_asked_about(lifecycle: Lifecycle) -> None:
    """The registration may be applied while the audit goes on; what is asked about no more is forgotten."""
    await given_model(lifecycle, 1)
    late = await given_upload(lifecycle.blobs, files=1, parts=0)
    await lifecycle.audit()
    assert await keys_of(lifecycle, ObjectUnclaimed) == members(late, 1)
    await lifecycle.deliver(registered(late, members(late, 1)))
    await lifecycle.audit(fix=True)
    assert await keys_of(lifecycle, ObjectUnclaimed) == members(late, 1)
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM unclaimed") == 0


async def test_young_objects_may_still_be_registered(lifecycle: Lifecycle) -> None:
    """An upload in progress has objects that no event names before its end: files get days, parts hours."""
    await given_model(lifecycle, 1)
    await given_upload(lifecycle.blobs, files=1, parts=1, upload_id="open")
    config = lifecycle.config
    assert (config.unclaimed_files_after_s, config.unclaimed_parts_after_s) == (7 * 86_400, 6 * 3600)
    for files_s, parts_s, found in ((60, 60, []), (60, -60, ["uploads"]), (-60, -60, ["objects", "uploads"])):
        await lifecycle.audit(unclaimed_files_after_s=files_s, unclaimed_parts_after_s=parts_s)
        assert [key.split("/")[1] for key in await keys_of(lifecycle, ObjectUnclaimed)] == found


async def test_what_is_dropped_and_has_no_purge_is_asked_about(lifecycle: Lifecycle) -> None:
    """A purge that never succeeded is forgotten after a month; what it left is not."""
    [key] = await given_model(lifecycle, 1)
    await lifecycle.deliver(dropped(key))
    await lifecycle.pool.execute("UPDATE purge SET scheduled_at = now() - interval '31 days'")
    await lifecycle.pool.execute("UPDATE object SET changed_at = now() - interval '2 days'")
    await lifecycle.audit()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge") == 0
    assert await keys_of(lifecycle, ObjectUnclaimed) == [key]


@pytest.mark.parametrize("end", [registered, aborted], ids=["ready", "aborted"])
async def test_what_a_signed_url_brings_after_its_upload_has_ended_goes_too(
    lifecycle: Lifecycle, end: Callable[..., Event]
) -> None:
    """With a later pass of the purge; after the last one by an audit, though the same key was deleted before."""
    [kept] = await given_model(lifecycle, 1)
    upload_id = await given_upload(lifecycle.blobs, files=1, parts=0)
    key = staged_key(PROJECT, upload_id, "config.json")
    await lifecycle.blobs.put_bytes(key, b"in time")
    await lifecycle.deliver(end(upload_id, members(upload_id, 1)) if end is registered else end(upload_id))
    worker = lifecycle.purge_worker()
    assert await worker.purge_next(asyncio.Event())
    await lifecycle.blobs.put_bytes(key, b"between two passes")
    await lifecycle.purge()
    assert await lifecycle.blobs.head(key) is None
    await lifecycle.blobs.put_bytes(key, b"a day later")
    await lifecycle.audit()
    assert await keys_of(lifecycle, ObjectUnclaimed) == [key]
    await lifecycle.deliver(dropped(key))
    await lifecycle.purge()
    assert await lifecycle.blobs.head(key) is None
    assert await lifecycle.blobs.head(kept) is not None


async def test_other_objects_are_left_alone(lifecycle: Lifecycle, caplog: pytest.LogCaptureFixture) -> None:
    """A bucket may be shared: what does not look like a key of ours is not ours."""
    await lifecycle.blobs.put_bytes("somebody/else.txt", b"x")
    audited = await lifecycle.audit(fix=True)
    assert await keys_of(lifecycle, ObjectUnclaimed) == []
    assert (audited.foreign, audited.objects) == (1, 0)
    assert "no project of this installation" in caplog.text


async def test_a_missing_object_is_reported_once_until_it_is_found(
    lifecycle: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    """After two looks: object.missing and a line in the log; object.found when it is there again."""
    keys = await given_model(lifecycle, 5)
    lost = [keys[0], keys[2], keys[4]]
    await lifecycle.blobs.delete(lost)
    for _ in range(2):
        assert (await lifecycle.audit()).missing == 3
    assert await keys_of(lifecycle, ObjectMissing) == lost
    [record] = [record for record in caplog.records if "missing in storage" in record.message]
    assert sorted(record.__dict__["keys"]) == lost
    await lifecycle.blobs.put_bytes(keys[2], b"x")
    assert (await lifecycle.audit()).missing == 2
    assert await keys_of(lifecycle, ObjectFound) == [keys[2]]
    assert await keys_of(lifecycle, ObjectMissing) == lost
    await lifecycle.blobs.delete([keys[2]])
    await lifecycle.audit()
    assert await keys_of(lifecycle, ObjectMissing) == sorted([*lost, keys[2]]), "it can be lost again"


async def test_a_missing_object_is_looked_for_twice(lifecycle: Lifecycle) -> None:
    """Minutes apart: what is there at the second look was never missing for anybody."""
    [kept, lost] = await given_model(lifecycle, 2)
    await lifecycle.blobs.delete([kept, lost])
    await lifecycle.deliver(ObjectAuditRequested(at=NOON))
    worker, stop = lifecycle.audit_worker(missing_confirm_s=300), asyncio.Event()
    assert await worker.next_slice(stop)
    assert not await worker.next_slice(stop), "the second look has its time"
    due_in_s = await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM reconciliation")
    assert 290 < due_in_s <= 300
    await lifecycle.blobs.put_bytes(kept, b"x")
    await lifecycle.pool.execute("UPDATE reconciliation SET due_at = now()")
    await lifecycle.pool.execute("UPDATE object SET missing_since = missing_since - interval '300 s'")
    while not await lifecycle.audited():
        assert await worker.next_slice(stop)
    assert await keys_of(lifecycle, ObjectMissing) == [lost]
    assert await keys_of(lifecycle, ObjectFound) == []


async def test_dropping_a_missing_object_ends_the_matter(lifecycle: Lifecycle) -> None:
    """The model was healed under a new key: the old one is neither missing nor found any more."""
    [key] = await given_model(lifecycle, 1)
    await lifecycle.blobs.delete([key])
    await lifecycle.audit()
    await lifecycle.deliver(dropped(key))
    await lifecycle.purge()
    assert (await lifecycle.audit()).missing == 0
    assert await state_of(lifecycle.pool, key) == "deleted"
    assert await keys_of(lifecycle, ObjectFound) == []


async def test_an_empty_bucket_is_missing_everything(lifecycle: Lifecycle) -> None:
    """Also where the listing has no page at all."""
    await lifecycle.deliver(registered("up", members("up", 3)))
    assert (await lifecycle.audit()).missing == 3


async def test_slices_see_what_one_pass_would(lifecycle: Lifecycle) -> None:
    """1,700 objects in slices of 400 at most, lost at the seams and by hundreds; another process does each slice."""
    keys = await given_model(lifecycle, 1700)
    lost = {keys[0], keys[399], keys[400], keys[401], *keys[600:1200], keys[-1]}
    await lifecycle.blobs.delete(lost)
    await lifecycle.deliver(ObjectAuditRequested(fix=True, at=NOON))
    stop, slices = asyncio.Event(), 0
    while not await lifecycle.audited():
        one = lifecycle.audit_worker(slice_objects=400, slice_pause_s=0, missing_confirm_s=0)
        assert await one.next_slice(stop)
        slices += 1
    [audited] = await lifecycle.audited()
    assert (audited.objects, audited.missing) == (1700 - len(lost), len(lost))
    assert await keys_of(lifecycle, ObjectMissing) == sorted(lost)
    assert slices > 5


async def test_an_interrupted_audit_goes_on_where_it_stood(lifecycle: Lifecycle) -> None:
    """A process is killed in the middle: after its lease another one goes on, and nothing counts twice."""
    await given_model(lifecycle, 900)
    await lifecycle.deliver(ObjectAuditRequested(at=NOON))
    stop = asyncio.Event()
    assert await lifecycle.audit_worker(slice_objects=400).next_slice(stop)
    await lifecycle.pool.execute(
        "UPDATE reconciliation SET leased_by = 'dead', lease_until = now() + interval '1 minute', due_at = now()"
    )
    other = lifecycle.audit_worker(slice_pause_s=0)
    assert not await other.next_slice(stop)
    await lifecycle.pool.execute("UPDATE reconciliation SET lease_until = now() - interval '1 second'")
    while not await lifecycle.audited():
        assert await other.next_slice(stop)
    [audited] = await lifecycle.audited()
    assert audited.objects == 900


async def test_who_was_overtaken_changes_nothing(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused process wakes up after another has gone on: its fence is old, and what it counted is rolled back."""
    await given_model(lifecycle, 3)
    absent = objects.absent

    async def overtaken(*args: Any, **named: Any) -> list[str]:
        await lifecycle.pool.execute("UPDATE reconciliation SET fence = fence + 1")
        return await absent(*args, **named)

    await lifecycle.deliver(ObjectAuditRequested(at=NOON))
    monkeypatch.setattr(objects, "absent", overtaken)
    assert await lifecycle.audit_worker().next_slice(asyncio.Event())
    row = await lifecycle.pool.fetchrow("SELECT phase, objects, cursor_key FROM reconciliation")
    assert tuple(row) == ("scan", 0, "")
    monkeypatch.undo()
    await lifecycle.pool.execute("UPDATE reconciliation SET lease_until = NULL, leased_by = NULL")
    while not await lifecycle.audited():
        assert await lifecycle.audit_worker(slice_pause_s=0).next_slice(asyncio.Event())
    assert [audited.objects for audited in await lifecycle.audited()] == [3]


async def test_it_comes_every_hour_and_at_request(lifecycle: Lifecycle) -> None:
    """One process at a time, and not again before its time."""
    one, other, stop = lifecycle.audit_worker(), lifecycle.audit_worker(), asyncio.Event()
    assert sorted(await asyncio.gather(one.next_slice(stop), other.next_slice(stop))) == [False, True]
    while not await lifecycle.audited():
        await one.next_slice(stop)
    assert not await other.next_slice(stop)
    due_in_s = await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM reconciliation")
    assert 3500 < due_in_s <= 3600
    await lifecycle.deliver(ObjectAuditRequested(at=NOON))
    assert await other.next_slice(stop)


async def test_an_operator_begins_it_anew(lifecycle: Lifecycle) -> None:
    """What counts is what is there from now on; the pass under way ends without a word."""
    await given_model(lifecycle, 900)
    await lifecycle.deliver(ObjectAuditRequested(at=NOON))
    assert await lifecycle.audit_worker(slice_objects=400).next_slice(asyncio.Event())
    assert (await lifecycle.audit()).objects == 900
    assert len(await lifecycle.audited()) == 1


async def test_storage_that_is_away_postpones_it(lifecycle: Lifecycle, stack: Stack) -> None:
    """Nothing is taken for missing because storage did not answer."""
    await lifecycle.deliver(registered("up", members("up")), ObjectAuditRequested(at=NOON))
    await stack.stop("s3")
    assert await lifecycle.audit_worker().next_slice(asyncio.Event())
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object WHERE missing_since IS NOT NULL") == 0
    due_in_s = await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM reconciliation")
    assert 50 < due_in_s <= 60


async def test_deleted_keys_are_forgotten_in_batches(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the last event that could name them is gone; then some in each transaction, until none is left."""
    monkeypatch.setattr("services.lifecycle.audit_worker.FORGOTTEN_AT_ONCE", 2)
    await lifecycle.deliver(dropped(*(file_key(PROJECT, "up", number, "a") for number in range(30))))
    await lifecycle.purge()
    await lifecycle.audit()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object") == 30
    await lifecycle.pool.execute("UPDATE object SET changed_at = now() - interval '31 days'")
    await lifecycle.audit()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object") == 0


async def test_an_audit_stops_at_once(lifecycle: Lifecycle) -> None:
    """Twenty starts and stops while the bucket is being listed; the next one takes it up again."""
    await given_model(lifecycle, 1)
    await given_upload(lifecycle.blobs, parts=500, files=0)
    for number in range(20):
        await lifecycle.deliver(ObjectAuditRequested(at=NOON))
        stop = asyncio.Event()
        running = asyncio.create_task(lifecycle.audit_worker().run(stop))
        asyncio.get_running_loop().call_later(number * 0.005, stop.set)
        async with asyncio.timeout(10):
            await running
    await lifecycle.audit()
    assert len(await keys_of(lifecycle, ObjectUnclaimed)) == 500


async def test_gauges_show_the_last_audit(lifecycle: Lifecycle) -> None:
    """Kept in its row, not counted again."""
    from services.lifecycle.app import _set_gauges

    keys = await given_model(lifecycle, 3)
    await lifecycle.blobs.delete(keys[:2])
    await lifecycle.blobs.put_bytes(file_key("proj_b", "up", 0, "a"), b"x")
    await lifecycle.audit()
    await _set_gauges(lifecycle.pool)
    shown = (metrics.objects_missing, metrics.objects_foreign, metrics.objects_unclaimed, metrics.audit_stopped)
    assert [gauge._value.get() for gauge in shown] == [2, 1, 0, 0]
