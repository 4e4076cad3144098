"""What a consumer promises while what it stands on goes away: Postgres, NATS, its streams, its own registration."""

from __future__ import annotations

import asyncio

from libs.contracts import Event, UploadAborted
from libs.db import Tx, transaction
from libs.outbox import Relay, emit
from tests.integration.bus.harness import Harness
from tests.support.bus import an_event, running
from tests.support.eventually import eventually
from tests.support.stack import Stack


async def test_a_restart_of_nats_delays_and_loses_nothing(stack: Stack, harness: Harness) -> None:
    harness.apply_each()
    before, after = an_event(), an_event()
    async with running(harness.consumer().run):
        await harness.send(before)
        await eventually(lambda: harness.has_applied(before))
        await stack.restart("nats")
        await eventually(lambda: _ready(harness))
        await harness.send(after)
        await eventually(lambda: harness.has_applied(after))


async def test_a_broker_that_comes_back_empty_gets_its_consumer_back(stack: Stack, harness: Harness) -> None:
    harness.apply_each()
    before, after = an_event(), an_event()
    async with running(harness.consumer().run, Relay(harness.pool, harness.signals, harness.bus).run):
        await harness.send(before)
        await eventually(lambda: harness.has_applied(before))
        await stack.lose_messages()
        async with transaction(harness.pool) as tx:  # what a sweeper does
            await emit(tx, [before, after])
        await eventually(lambda: harness.has_applied(after))
        await eventually(harness.is_settled)
    assert sorted(await harness.applied()) == sorted([before.id, after.id])


async def test_a_consumer_that_was_deleted_is_made_again(harness: Harness) -> None:
    harness.apply_each()
    before, after = an_event(), an_event()
    async with running(harness.consumer().run):
        await harness.send(before)
        await eventually(lambda: harness.has_applied(before))
        js = (await harness.bus.session()).js
        await js.delete_consumer(f"{harness.bus.namespace}_EVENTS", f"{harness.bus.namespace}_service")
        await harness.send(after)
        await eventually(lambda: harness.has_applied(after))
    assert sorted(await harness.applied()) == sorted([before.id, after.id])


async def test_work_that_outlives_its_session_is_not_begun_a_second_time(stack: Stack, harness: Harness) -> None:
    """Its message is delivered again on the new session; the answer goes there, and the work is done once."""
    gate = asyncio.Event()

    async def slow(event: UploadAborted, _: object) -> None:
        await harness.called(event)
        await gate.wait()

    @harness.handlers.on(UploadAborted, prepare=slow)
    async def handle(event: UploadAborted, tx: Tx, _: None) -> list[Event]:
        await harness.apply(event, tx)
        return []

    event, witness = an_event(), an_event()
    async with running(harness.consumer(ack_wait_s=1).run):
        await harness.send(event)
        await harness.wait_for_calls(1)
        await stack.restart("nats")
        await eventually(lambda: _ready(harness))
        await harness.send(witness)
        await harness.wait_for_calls(2)
        await asyncio.sleep(2.5)  # passes twice ack_wait: it was delivered again by now
        gate.set()
        await eventually(lambda: harness.has_applied(event, witness))
        await eventually(harness.is_settled)
    assert harness.calls == [event.id, witness.id]


async def test_a_restart_of_postgres_delays_and_loses_nothing(stack: Stack, harness: Harness) -> None:
    harness.apply_each()
    events = [an_event() for _ in range(50)]
    async with running(harness.consumer(max_deliver=2).run):
        for event in events[:25]:
            await harness.send(event)
        await stack.kill("postgres")
        for event in events[25:]:
            await harness.send(event)
        await stack.start("postgres")
        await eventually(lambda: harness.has_applied(*events))
        await eventually(harness.is_settled)
    assert len(await harness.applied()) == 50
    assert await harness.letters() == []


async def _ready(harness: Harness) -> bool:
    return harness.bus.ready()
