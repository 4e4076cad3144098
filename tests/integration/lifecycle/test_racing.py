"""Registrations, drops and purges at the same time: nothing registered is ever deleted."""

from __future__ import annotations

import asyncio
import random

import msgspec

from libs.contracts import Event, ObjectDeleted, new_id
from services.lifecycle.purge_worker import PurgeWorker
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
)
from tests.support import emitted


async def test_purges_that_race_with_registrations_delete_nothing_registered(lifecycle: Lifecycle) -> None:
    """Registrations, repeats, shared files, aborts and drops, at random and all at once, with workers at it.

    At the end storage holds exactly what is live, and live is exactly what the registry kept.
    """
    rng = random.Random(11)
    uploads = [await given_upload(lifecycle.blobs, files=4, parts=2) for _ in range(30)]
    registry: set[str] = set()
    events: list[Event] = []
    for number, upload_id in enumerate(uploads):
        if number % 5 == 4:
            events.append(aborted(upload_id))
            continue
        own = members(upload_id, rng.randint(1, 4))
        shared = rng.sample(sorted(registry), min(len(registry), 3))
        registration = registered(upload_id, own + shared)
        events += [registration, msgspec.structs.replace(registration, id=new_id())]
        registry |= set(own)
    gone = set(rng.sample(sorted(registry), 15))
    events += [dropped(key) for key in gone]
    rng.shuffle(events)

    stop = asyncio.Event()
    lifecycle.config = msgspec.structs.replace(lifecycle.config, purge_pauses_s="0,0,0")
    workers = [asyncio.create_task(lifecycle.purge_worker().run(stop)) for _ in range(3)]
    await asyncio.gather(*(lifecycle.deliver(*events[lane::4]) for lane in range(4)))
    while await lifecycle.pool.fetchval("SELECT count(*) FROM purge"):
        await asyncio.wait(workers, timeout=0.1)
    stop.set()
    await asyncio.gather(*workers)

    live = {row["key"] for row in await lifecycle.pool.fetch("SELECT key FROM object WHERE state = 'live'")}
    assert live == registry - gone
    assert await keys_in(lifecycle.blobs) == live
    told = [key for event in await emitted(lifecycle.pool) if isinstance(event, ObjectDeleted) for key in event.keys]
    assert len(told) == len(set(told))
    assert not set(told) & live


async def test_a_drop_waits_for_a_registration_that_is_committing(lifecycle: Lifecycle) -> None:
    """Of two racing writers the drop is the later one, and wins; no reference is left behind."""
    [key] = members("up", 1)
    async with lifecycle.pool.acquire() as first, first.transaction():
        assert await objects.register(first, PROJECT, registered("up", [key]).files, at=NOON) == {key}
        racing = asyncio.create_task(lifecycle.deliver(dropped(key)))
        await asyncio.wait([racing], timeout=0.2)
        assert not racing.done()
        await objects.add_references(first, [key], "model", "m")
    await racing
    assert await lifecycle.pool.fetchval("SELECT state FROM object") == "dropped"
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM reference") == 0


async def test_a_purge_waits_for_a_registration_that_is_committing(lifecycle: Lifecycle) -> None:
    """The statement that claims a key for deletion sees a registration that began before it, and keeps the object."""
    upload_id = await given_upload(lifecycle.blobs, files=1, parts=0)
    [key] = members(upload_id, 1)
    await lifecycle.deliver(aborted(upload_id))
    worker = lifecycle.purge_worker()
    async with lifecycle.pool.acquire() as tx, tx.transaction():
        await objects.register(tx, PROJECT, registered(upload_id, [key]).files, at=NOON)
        purging = asyncio.create_task(_purge_all(worker))
        await asyncio.wait([purging], timeout=0.5)
        assert not purging.done()
    await purging
    assert await keys_in(lifecycle.blobs) == {key}


async def _purge_all(worker: PurgeWorker) -> None:
    while await worker.purge_next(asyncio.Event()):
        pass
