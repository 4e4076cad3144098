"""What the relay promises: every committed event reaches the broker, whatever dies or goes away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from libs import telemetry
from libs.bus import Bus, Consumer, Handlers
from libs.contracts import Event, UploadAborted
from libs.db import Pool, Tx, transaction
from libs.errors import Invalid
from libs.outbox import Relay, depth, emit, replay
from libs.outbox import relay as relaying
from libs.signals import Signals
from tests.support.bus import an_event, eventually, running, stored
from tests.support.fixtures import PoolFor, SignalsFor
from tests.support.stack import Stack

NEVER_S = 3600.0  # a poll interval that a test does not live to see


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("spine")


@pytest.fixture
async def signals(pool: Pool, signals_for: SignalsFor) -> Signals:
    return await signals_for("spine")


async def commit(pool: Pool, *events: Event) -> None:
    async with transaction(pool) as tx:
        await emit(tx, events)


async def nothing_left(pool: Pool) -> bool:
    return await depth(pool) == 0


async def ids_on_stream(bus: Bus) -> list[str]:
    return [message.headers["Nats-Msg-Id"] for message in await stored(bus)]


async def test_a_commit_wakes_the_relay(pool: Pool, signals: Signals, bus: Bus) -> None:
    trace = telemetry.child_traceparent(None)
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        event = an_event()
        with telemetry.bind(request_id="req_1", traceparent=trace):
            await commit(pool, event)
        await eventually(lambda: nothing_left(pool))

    [message] = await stored(bus)
    assert message.subject == "upload.aborted.v1"
    assert message.headers == {"Nats-Msg-Id": event.id, "Slipway-Request-Id": "req_1", "traceparent": trace}


async def test_what_was_committed_before_a_crash_goes_out_after_it(pool: Pool, signals: Signals, bus: Bus) -> None:
    events = [an_event() for _ in range(3)]
    await commit(pool, *events)  # and the process died before any relay heard of it
    async with running(Relay(pool, signals, bus).run):
        await eventually(lambda: nothing_left(pool))
    assert await ids_on_stream(bus) == [event.id for event in events]


class DiesBeforeMarking:
    """A bus for a relay that is killed after the broker has stored its events, before it could write that down."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.stored = asyncio.Event()

    def ready(self) -> bool:
        return self._bus.ready()

    async def wait_ready(self, timeout_s: float) -> bool:
        return await self._bus.wait_ready(timeout_s)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        await self._bus.publish(subject, data, headers, f"{msg_id} before the broker's dedup window")
        self.stored.set()
        await asyncio.Event().wait()


async def test_an_event_published_by_a_relay_that_died_before_marking_goes_out_twice_and_is_applied_once(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    handlers = Handlers("spine")
    await pool.execute("CREATE TABLE applied (event_id text)")

    @handlers.on(UploadAborted)
    async def record(event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied VALUES ($1)", event.id)
        return []

    await bus.session()
    dying = DiesBeforeMarking(bus)
    event, last = an_event(), an_event()
    await commit(pool, event)
    killed = asyncio.create_task(Relay(pool, signals, dying).publish_batch())
    await dying.stored.wait()
    killed.cancel()
    await asyncio.wait({killed})
    assert await depth(pool) == 1

    async with running(Relay(pool, signals, bus).run, Consumer(bus, pool, handlers, concurrency=1).run):
        await commit(pool, last)

        async def last_applied() -> bool:
            return bool(await pool.fetchval("SELECT true FROM applied WHERE event_id = $1", last.id))

        await eventually(last_applied)
    assert len(await stored(bus)) == 3
    assert await pool.fetchval("SELECT count(*) FROM applied WHERE event_id = $1", event.id) == 1


async def test_a_replay_passes_the_brokers_dedup_window(pool: Pool, signals: Signals, bus: Bus) -> None:
    event = an_event()
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        await commit(pool, event)
        await eventually(lambda: nothing_left(pool))
        assert await replay(pool, event_ids=[event.id]) == 1
        await eventually(lambda: nothing_left(pool))
    assert await ids_on_stream(bus) == [event.id, f"{event.id}#1"]


async def test_while_nats_is_away_events_wait_and_then_go_out_at_once(
    stack: Stack, pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    await stack.kill("nats")
    await eventually(lambda: _is(not bus.ready()))
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        events = [an_event() for _ in range(3)]
        await commit(pool, *events)
        assert await depth(pool) == 3
        await stack.start("nats")
        await eventually(lambda: nothing_left(pool))
    assert await ids_on_stream(bus) == [event.id for event in events]


async def test_a_broker_that_lost_everything_gets_its_streams_back(
    stack: Stack, pool: Pool, signals: Signals, bus: Bus
) -> None:
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        lost, late = an_event(), an_event()
        await commit(pool, lost)
        await eventually(lambda: nothing_left(pool))
        await stack.lose_messages()
        await commit(pool, late)
        await eventually(lambda: nothing_left(pool))
        assert await ids_on_stream(bus) == [late.id]
        await replay(pool)  # what an operator does then
        await eventually(lambda: nothing_left(pool))
    assert sorted(await ids_on_stream(bus)) == sorted([late.id, f"{lost.id}#1", f"{late.id}#1"])


async def test_after_a_restart_of_postgres_the_relay_goes_on(
    stack: Stack, pool: Pool, signals: Signals, bus: Bus
) -> None:
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        await commit(pool, an_event())
        await eventually(lambda: nothing_left(pool))
        await stack.restart("postgres")
        event = an_event()
        await commit(pool, event)
        await eventually(lambda: nothing_left(pool))
    assert event.id in await ids_on_stream(bus)


async def test_relays_side_by_side_publish_everything_and_do_not_wait_for_each_other(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    """One relay hangs in the middle of its batch, rows locked; the other publishes the rest beside it."""
    await bus.session()
    hanging = DiesBeforeMarking(bus)
    held = [an_event() for _ in range(3)]
    await commit(pool, *held)
    stuck = asyncio.create_task(Relay(pool, signals, hanging).publish_batch())
    await hanging.stored.wait()

    rest = [an_event() for _ in range(3)]
    await commit(pool, *rest)
    assert await Relay(pool, signals, bus).publish_batch() == 3
    assert await depth(pool) == 3

    stuck.cancel()
    await asyncio.wait({stuck})
    assert await Relay(pool, signals, bus).publish_batch() == 3
    assert {event.id for event in held + rest} <= set(await ids_on_stream(bus))


class RefusesOne:
    """A bus that will not take one event, however often it is tried."""

    def __init__(self, bus: Bus, refused_id: str) -> None:
        self._bus = bus
        self._refused_id = refused_id
        self.ready, self.wait_ready = bus.ready, bus.wait_ready

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        if msg_id == self._refused_id:
            raise Invalid("too large")
        await self._bus.publish(subject, data, headers, msg_id)


async def test_an_event_that_the_broker_refuses_does_not_hold_up_the_others(
    pool: Pool, signals: Signals, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "_BATCH", 1)  # so that it stands in front of all others
    refused, event = an_event(), an_event()
    await commit(pool, refused, event)
    async with running(Relay(pool, signals, RefusesOne(bus, refused.id), poll_s=0.05).run):
        await eventually(lambda: _is_depth(pool, 1))
    assert await ids_on_stream(bus) == [event.id]
    assert await pool.fetchval("SELECT event_id FROM outbox WHERE published_at IS NULL") == refused.id


async def test_the_relay_publishes_in_batches_and_not_one_by_one(pool: Pool, signals: Signals, bus: Bus) -> None:
    await bus.session()
    await commit(pool, *(an_event() for _ in range(700)))
    relay = Relay(pool, signals, bus)
    assert [await relay.publish_batch() for _ in range(3)] == [500, 200, 0]
    assert await depth(pool) == 0


async def test_a_batch_is_bounded_in_bytes(pool: Pool, signals: Signals, bus: Bus) -> None:
    await bus.session()
    await commit(pool, *(an_event("x" * 3 * 1024 * 1024) for _ in range(5)))
    relay = Relay(pool, signals, bus)
    assert [await relay.publish_batch() for _ in range(3)] == [3, 2, 0]


async def _is(condition: bool) -> bool:
    return condition


async def _is_depth(pool: Pool, expected: int) -> bool:
    return await depth(pool) == expected
