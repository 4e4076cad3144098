"""The bus, the outbox and consumers while servers restart: each event takes effect once, and none is lost."""

from __future__ import annotations

import asyncio

from libs.contracts import Event, UploadAborted, UploadExpired
from libs.db import Tx, transaction
from libs.errors import Unavailable
from libs.outbox import Relay, depth, emit
from tests.integration.bus.harness import Harness
from tests.support.bus import an_event, running
from tests.support.eventually import eventually
from tests.support.stack import Stack

EVENTS = 400


async def test_every_event_takes_effect_once_while_nats_and_postgres_are_killed(stack: Stack, harness: Harness) -> None:
    """A chain of two: each event is answered by another, so that each handler's outbox rows are put to the test too."""

    @harness.handlers.on(UploadAborted)
    async def answer(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return [UploadExpired(at=event.at, upload_id=event.upload_id, project_id="p", model_id="m")]

    @harness.handlers.on(UploadExpired)
    async def end(event: UploadExpired, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", event.upload_id)
        return []

    async def emit_each(events: list[UploadAborted]) -> None:
        """As a client would, who is told to come back while the database is away; a lost COMMIT may send one twice."""
        for event in events:
            while True:
                try:
                    async with transaction(harness.pool) as tx:
                        await emit(tx, [event])
                    break
                except Unavailable:
                    continue

    events = [an_event(f"upload-{number}") for number in range(EVENTS)]

    relays = [Relay(harness.pool, harness.signals, harness.bus, poll_s=1.0).run for _ in range(2)]
    consumers = [harness.consumer(ack_wait_s=2).run for _ in range(2)]
    async with running(*relays, *consumers):
        emitting = asyncio.create_task(emit_each(events))
        for _ in range(3):
            await stack.restart("nats")
            await stack.restart("postgres")
        await emitting
        await eventually(lambda: _complete(harness, 2 * EVENTS), timeout_s=60)
        await eventually(harness.is_settled)
        await eventually(lambda: _published(harness))

    applied = await harness.applied()
    assert len(applied) == len(set(applied)) == 2 * EVENTS
    assert set(applied) == {event.id for event in events} | {event.upload_id for event in events}
    assert await harness.letters() == []


async def _complete(harness: Harness, count: int) -> bool:
    return len(await harness.applied()) >= count


async def _published(harness: Harness) -> bool:
    return await depth(harness.pool) == 0
