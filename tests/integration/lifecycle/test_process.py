"""Lifecycle as a process: events from the bus, killed at work, told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from libs.blobs import Blobs
from libs.bus import Bus
from libs.contracts import Event, ObjectDeleted, encode_event, event_type
from tests.integration.lifecycle.uploads import aborted, dropped, given_upload, keys_in, members, registered
from tests.support import emitted
from tests.support.eventually import eventually
from tests.support.fixtures import PoolFor, StartService

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def start(start_service: StartService) -> Start:
    """Start lifecycle, in haste."""
    return partial(start_service, "lifecycle", lease_s=1, poll_s=0.1, purge_pauses_s="0.1,0.1", unready_s=0.1)


async def tell(bus: Bus, *events: Event) -> None:
    """Publish events as another service's relay would."""
    await bus.session()
    for event in events:
        await bus.publish(event_type(event), encode_event(event), msg_id=event.id)


async def test_killed_process_is_replaced(start: Start, bus: Bus, blobs: Blobs, pool_for: PoolFor) -> None:
    """Each at a random moment of its work: the last one finishes, and every deletion is told of once."""
    kept: set[str] = set()
    gone: set[str] = set()
    events: list[Event] = []
    for number in range(12):
        upload_id = await given_upload(blobs, files=20, parts=20)
        keys = members(upload_id, 20)
        if number % 2:
            events.append(aborted(upload_id))
        else:
            events += [registered(upload_id, keys[:10]), dropped(keys[0])]
            kept |= set(keys[1:10])
    gone = await keys_in(blobs) - kept
    await tell(bus, *events)
    for _ in range(4):
        process = await start()
        before = len(await keys_in(blobs))

        async def some_are_gone(before: int = before) -> bool:
            return len(await keys_in(blobs)) in {*range(before), len(kept)}

        await eventually(some_are_gone)
        process.kill()
        await process.wait()
    await start()
    pool = await pool_for("lifecycle")

    async def all_is_done() -> bool:
        return await keys_in(blobs) == kept and not await pool.fetchval("SELECT count(*) FROM purge")

    await eventually(all_is_done, timeout_s=60)
    told = [key for event in await emitted(pool) if isinstance(event, ObjectDeleted) for key in event.keys]
    assert sorted(told) == sorted(gone)


async def test_a_stopped_process_ends(start: Start, bus: Bus, blobs: Blobs, pool_for: PoolFor) -> None:
    """SIGTERM in the middle of a purge: it ends in good order, and gives the purge back."""
    upload_id = await given_upload(blobs, files=0, parts=900)
    process = await start()
    pool = await pool_for("lifecycle")
    await tell(bus, aborted(upload_id))

    async def it_is_at_it() -> bool:
        return len(await keys_in(blobs)) < 900

    await eventually(it_is_at_it)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(40):
        assert await process.wait() == 0
    assert await pool.fetchval("SELECT count(*) FROM purge WHERE leased_by IS NOT NULL") == 0
