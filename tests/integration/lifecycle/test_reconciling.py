"""Once an hour storage and the tables are compared."""

from __future__ import annotations

import asyncio

import pytest

from libs.contracts import ObjectUnclaimed
from libs.contracts.keys import file_key
from services.lifecycle import metrics
from services.lifecycle.reconciling import request_reconciliation
from tests.integration.lifecycle.conftest import Lifecycle
from tests.integration.lifecycle.given import (
    PROJECT,
    aborted,
    dropped,
    given_upload,
    keys_in,
    members,
    registered,
)
from tests.support import emitted
from tests.support.stack import Stack


async def unclaimed(lifecycle: Lifecycle) -> set[str]:
    """What lifecycle has asked about."""
    events = [event for event in await emitted(lifecycle.pool) if isinstance(event, ObjectUnclaimed)]
    return {key for event in events for key in event.keys}


async def test_what_nobody_told_of_is_asked_about(lifecycle: Lifecycle) -> None:
    """By project; neither what is live, nor what is about to be purged."""
    known = await given_upload(lifecycle.blobs, parts=0)
    await lifecycle.handle(registered(known, members(known)))
    await lifecycle.purge()
    ending = await given_upload(lifecycle.blobs)
    await lifecycle.handle(aborted(ending))
    going = file_key(PROJECT, "up", 0, "a")
    await lifecycle.blobs.put_bytes(going, b"x")
    await lifecycle.handle(dropped(going))
    lost, elsewhere = file_key(PROJECT, "lost", 0, "a"), file_key("proj_b", "lost", 0, "a")
    for key in (lost, elsewhere):
        await lifecycle.blobs.put_bytes(key, b"x")
    await lifecycle.reconcile()
    assert await unclaimed(lifecycle) == {lost, elsewhere}
    assert {event.project_id for event in await emitted(lifecycle.pool)} == {PROJECT, "proj_b"}
    assert elsewhere in await keys_in(lifecycle.blobs), "asking deletes nothing"


async def test_the_registrys_answer_removes_it(lifecycle: Lifecycle) -> None:
    """Also what came back after it was deleted: a writer that was stuck for longer than the last pass."""
    upload_id = await given_upload(lifecycle.blobs, files=1, parts=0)
    [key] = members(upload_id, 1)
    await lifecycle.handle(aborted(upload_id))
    await lifecycle.purge()
    await lifecycle.blobs.put_bytes(key, b"late")
    await lifecycle.reconcile()
    assert await unclaimed(lifecycle) == {key}
    await lifecycle.handle(dropped(key))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set()


async def test_what_is_young_may_still_be_told_of(lifecycle: Lifecycle) -> None:
    """An upload in progress has objects that lifecycle hears of only when its model is registered."""
    await given_upload(lifecycle.blobs)
    await lifecycle.reconcile(orphan_after_s=3600)
    assert await emitted(lifecycle.pool) == []


async def test_a_strangers_objects_are_left_alone(lifecycle: Lifecycle, caplog: pytest.LogCaptureFixture) -> None:
    """A bucket may be shared: what does not look like a key of ours is not ours."""
    await lifecycle.blobs.put_bytes("somebody/else.txt", b"x")
    await lifecycle.reconcile()
    assert await emitted(lifecycle.pool) == []
    assert "not Slipway's" in caplog.text


async def test_what_is_missing_is_told_of_until_it_is_back(
    lifecycle: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    """A registered object that storage has lost is an error in the log, once, and a gauge, until it is found again."""
    upload_id = await given_upload(lifecycle.blobs, files=5, parts=0)
    keys = members(upload_id, 5)
    await lifecycle.handle(registered(upload_id, keys))
    await lifecycle.blobs.delete([keys[0], keys[2], keys[4]])
    await lifecycle.reconcile()
    await lifecycle.reconcile()
    [record] = [record for record in caplog.records if "missing in storage" in record.message]
    assert sorted(record.__dict__["keys"]) == [keys[0], keys[2], keys[4]]
    assert metrics.objects_missing._value.get() == 3
    await lifecycle.blobs.put_bytes(keys[2], b"x")
    await lifecycle.reconcile()
    assert metrics.objects_missing._value.get() == 2


async def test_an_empty_bucket_is_missing_everything(lifecycle: Lifecycle) -> None:
    """Also where the listing has no page at all."""
    await lifecycle.handle(registered("up", members("up", 3)))
    await lifecycle.reconcile()
    assert metrics.objects_missing._value.get() == 3


async def test_a_long_listing_is_compared_page_by_page(lifecycle: Lifecycle) -> None:
    """Nine hundred objects are three pages of ours; those lost at the seams are found as well."""
    upload_id = await given_upload(lifecycle.blobs, files=900, parts=0)
    keys = sorted(members(upload_id, 900))
    await lifecycle.handle(registered(upload_id, keys))
    lost = {keys[0], keys[399], keys[400], keys[401], keys[-1]}
    await lifecycle.blobs.delete(lost)
    await lifecycle.reconcile()
    missing = await lifecycle.pool.fetch("SELECT key FROM object WHERE missing_since IS NOT NULL")
    assert {row["key"] for row in missing} == lost


async def test_it_comes_every_hour_and_at_request(lifecycle: Lifecycle) -> None:
    """One process at a time, and not again before its time."""
    one, other, stop = lifecycle.reconciler(), lifecycle.reconciler(), asyncio.Event()
    assert sorted(await asyncio.gather(one.reconcile_if_due(stop), other.reconcile_if_due(stop))) == [False, True]
    assert not await other.reconcile_if_due(stop)
    due_in_s = await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM reconciliation")
    assert 3500 < due_in_s <= 3600
    await request_reconciliation(lifecycle.pool)
    assert await other.reconcile_if_due(stop)


async def test_storage_that_is_away_postpones_it(lifecycle: Lifecycle, stack: Stack) -> None:
    """Nothing is taken for missing because storage did not answer."""
    await lifecycle.handle(registered("up", members("up")))
    await stack.stop("s3")
    await lifecycle.reconcile()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object WHERE missing_since IS NOT NULL") == 0
    due_in_s = await lifecycle.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float FROM reconciliation")
    assert 50 < due_in_s <= 60


async def test_deleted_keys_are_forgotten_in_the_end(lifecycle: Lifecycle) -> None:
    """Not before the last event that could name them is gone."""
    await lifecycle.handle(dropped("proj_a/objects/up/f0-a"))
    await lifecycle.purge()
    await lifecycle.reconcile()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object") == 1
    await lifecycle.pool.execute("UPDATE object SET changed_at = now() - interval '31 days'")
    await lifecycle.reconcile()
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM object") == 0


async def test_a_reconciler_stops_at_once(lifecycle: Lifecycle) -> None:
    """Twenty starts and stops while the bucket is being listed; the next one takes it up again."""
    await given_upload(lifecycle.blobs, parts=500, files=0)
    for number in range(20):
        await request_reconciliation(lifecycle.pool)
        stop = asyncio.Event()
        running = asyncio.create_task(lifecycle.reconciler().run(stop))
        asyncio.get_running_loop().call_later(number * 0.005, stop.set)
        async with asyncio.timeout(10):
            await running
    await lifecycle.reconcile()
    assert len(await unclaimed(lifecycle)) == 500
