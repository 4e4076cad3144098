"""What the relay promises: every committed event reaches the broker, whatever dies or goes away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from libs import telemetry
from libs.bus import Bus, Consumer, Handlers
from libs.contracts import Event, UploadAborted, encode_event, event_type
from libs.db import Pool, Tx, connection, migrate, open_pool, transaction
from libs.errors import Invalid
from libs.outbox import Relay, depth, depth_and_refused, emit, refused, replay, retention, retry, store
from libs.outbox.local import taker
from libs.signals import Signals
from libs.tasks import end
from tests.support.bus import an_event, running, stored
from tests.support.eventually import eventually
from tests.support.fixtures import OUTBOX_MIGRATIONS, PoolFor, SignalsFor
from tests.support.stack import Stack

NEVER_S = 3600.0  # a poll interval that a test does not live to see


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("service")


@pytest.fixture
async def signals(pool: Pool, signals_for: SignalsFor) -> Signals:
    return await signals_for("service")


async def commit(pool: Pool, *events: Event) -> None:
    async with transaction(pool) as tx:
        await emit(tx, events)


async def nothing_left(pool: Pool) -> bool:
    return await depth(pool) == 0


async def ids_on_stream(bus: Bus) -> list[str]:
    return [message.headers["Nats-Msg-Id"] for message in await stored(bus)]


async def test_a_commit_is_published_at_once_by_its_own_process(pool: Pool, signals: Signals, bus: Bus) -> None:
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
    handlers = Handlers("service")
    await pool.execute("CREATE TABLE applied (event_id text)")

    @handlers.on(UploadAborted)
    async def record(event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied VALUES ($1)", event.id)
        return []

    await bus.session()
    dying = DiesBeforeMarking(bus)
    event, last = an_event(), an_event()
    killed = asyncio.create_task(Relay(pool, signals, dying, lease_s=0.1).run(asyncio.Event()))
    await eventually(lambda: _is(taker(pool) is not None))
    await commit(pool, event)
    await dying.stored.wait()
    await end(killed)
    assert await depth(pool) == 1

    async with running(Relay(pool, signals, bus).run, Consumer(bus, pool, handlers, concurrency=1).run):
        await commit(pool, last)

        async def last_applied() -> bool:
            return bool(await pool.fetchval("SELECT true FROM applied WHERE event_id = $1", last.id))

        await eventually(last_applied)
        await eventually(lambda: nothing_left(pool))  # the leader has published what the other left behind
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


async def test_rows_of_a_process_that_hangs_are_published_by_the_leader_and_hold_up_nobody(
    pool: Pool, signals: Signals, bus: Bus, pool_for: PoolFor
) -> None:
    """One relay never gets an answer from the broker; the others publish their own, and one of them its rows."""
    await bus.session()
    hanging = DiesBeforeMarking(bus)
    async with another_pool(pool) as other, running(Relay(other, signals, bus, poll_s=0.05).run):
        await eventually(lambda: _is_led(pool))
        stuck = asyncio.create_task(Relay(pool, signals, hanging).run(asyncio.Event()))
        await eventually(lambda: _is(taker(pool) is not None))
        held = [an_event() for _ in range(3)]
        await commit(pool, *held)
        await hanging.stored.wait()
        rest = [an_event() for _ in range(3)]
        await commit(other, *rest)
        await eventually(lambda: nothing_left(pool))
    await end(stuck)
    assert {event.id for event in held + rest} <= set(await ids_on_stream(bus))


async def test_of_many_relays_one_leads_and_another_takes_over_when_it_stops(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    first, second = (Relay(pool, signals, bus, poll_s=0.05, lease_s=0.3) for _ in range(2))
    async with running(second.run):
        async with running(first.run):
            await eventually(lambda: _is_led(pool))
            [holder] = {await pool.fetchval("SELECT holder FROM relay_lease") for _ in range(20)}
            assert holder in (first.leader.holder, second.leader.holder)
        # Whoever led: what is left behind now is published by the second.
        await pool.execute("UPDATE relay_lease SET held_until = now() WHERE holder = $1", first.leader.holder)
        await leave_behind(pool, an_event())
        await eventually(lambda: nothing_left(pool))
        assert await pool.fetchval("SELECT holder FROM relay_lease") == second.leader.holder


async def test_a_leader_that_was_killed_is_replaced_when_its_lease_has_run_out(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    async with connection(pool) as tx:
        assert await store.hold_lease(tx, "killed", timedelta(seconds=1))
        assert not await store.hold_lease(tx, "other", timedelta(seconds=1))
        assert await store.hold_lease(tx, "killed", timedelta(seconds=1))
    await leave_behind(pool, an_event())
    async with running(Relay(pool, signals, bus, poll_s=0.05, lease_s=0.2).run):
        await eventually(lambda: nothing_left(pool))


async def test_thirty_relays_take_one_and_a_half_transactions_an_event(stack: Stack, bus: Bus, namespace: str) -> None:
    """Counted by Postgres in a database of its own: marks, looks, connecting. Leases cost by the hour."""
    await bus.session()
    rounds, relays = 20, 30
    events = rounds * relays
    async with a_database(stack, namespace) as url:
        await migrate(url, "service", OUTBOX_MIGRATIONS)
        async with AsyncExitStack() as opened:
            pools = [await opened.enter_async_context(await open_pool(url, "service", size=2)) for _ in range(relays)]
            signals = [await opened.enter_async_context(Signals.open(url, "service")) for _ in range(relays)]
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for each, of_each in zip(pools, signals, strict=True):
                    group.create_task(Relay(each, of_each, bus, lease_s=3600).run(stop))
                await eventually(lambda: _is(all(taker(each) is not None for each in pools)))
                before = await commits(pools[0])
                for _ in range(rounds):
                    await asyncio.gather(*(commit(each, an_event()) for each in pools))
                await eventually(lambda: nothing_left(pools[0]), timeout_s=60)
                stop.set()
        async with await open_pool(url, "service", size=1) as last:
            taken = await commits(last) - before
    assert len(await ids_on_stream(bus)) == events
    assert taken - events <= 1.5 * events


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


async def test_an_event_that_the_broker_refuses_is_shown_and_does_not_hold_up_the_others(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    refused_event, event = an_event(), an_event()
    before = telemetry.refusals.labels("upload.aborted.v1")._value.get()
    async with running(Relay(pool, signals, RefusesOne(bus, refused_event.id), poll_s=0.05).run):
        await eventually(lambda: _is(taker(pool) is not None))
        await commit(pool, refused_event, event)
        await eventually(lambda: _is_refused(pool, 1))
        await eventually(lambda: _is_depth(pool, 1))
    assert await ids_on_stream(bus) == [event.id]
    [shown] = await refused(pool)
    assert (shown.event_id, shown.type, shown.reason) == (refused_event.id, "upload.aborted.v1", "too large")
    assert await depth_and_refused(pool) == (1, 1)
    assert telemetry.refusals.labels("upload.aborted.v1")._value.get() == before + 1


async def test_pauses_between_refusals_grow_to_hours(pool: Pool, signals: Signals, bus: Bus) -> None:
    await bus.session()
    event = an_event()
    await commit(pool, event)
    leader = Relay(pool, signals, RefusesOne(bus, event.id)).leader
    pauses = []
    for _ in range(14):
        assert await leader.publish_left_behind(timedelta(0)) == 1
        assert await leader.publish_left_behind(timedelta(0)) == 0
        left_s = await pool.fetchval("SELECT extract(epoch FROM retry_at - now()) FROM outbox")
        pauses.append(round(float(left_s) / 30) * 30)
        await pool.execute("UPDATE outbox SET retry_at = now()")
    assert pauses[:3] == [30, 60, 120]
    assert pauses[-1] == pauses[-2] == 6 * 3600


async def test_a_refused_event_goes_out_when_the_operator_has_it_retried(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    event = an_event()
    await commit(pool, event)
    await Relay(pool, signals, RefusesOne(bus, event.id)).leader.publish_left_behind(timedelta(0))
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        await eventually(lambda: _is_led(pool))
        assert await depth(pool) == 1
        assert await retry(pool, ["another"]) == 0
        assert await retry(pool, [event.id]) == 1
        await eventually(lambda: nothing_left(pool))
    assert await refused(pool) == []
    assert await ids_on_stream(bus) == [event.id]


async def test_what_was_left_behind_goes_out_in_batches_and_not_one_by_one(
    pool: Pool, signals: Signals, bus: Bus
) -> None:
    await bus.session()
    await commit(pool, *(an_event() for _ in range(700)))
    leader = Relay(pool, signals, bus).leader
    assert [await leader.publish_left_behind(timedelta(0)) for _ in range(3)] == [500, 200, 0]
    assert await depth(pool) == 0


async def test_a_batch_is_bounded_in_bytes(pool: Pool, signals: Signals, bus: Bus) -> None:
    await bus.session()
    await commit(pool, *(an_event("x" * 3 * 1024 * 1024) for _ in range(5)))
    leader = Relay(pool, signals, bus).leader
    assert [await leader.publish_left_behind(timedelta(0)) for _ in range(3)] == [3, 2, 0]


async def test_a_burst_beyond_what_memory_holds_is_published_from_the_table(
    pool: Pool, signals: Signals, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.outbox.relay._HELD_BYTES", 0)
    await bus.session()
    events = [an_event() for _ in range(50)]
    async with running(Relay(pool, signals, bus, poll_s=NEVER_S).run):
        await eventually(lambda: _is_led(pool))
        await commit(pool, *events)
        await eventually(lambda: nothing_left(pool))
    assert set(await ids_on_stream(bus)) == {event.id for event in events}


async def test_a_relay_publishes_what_is_still_in_memory_before_it_ends(pool: Pool, signals: Signals, bus: Bus) -> None:
    await bus.session()
    async with running(Relay(pool, signals, bus).run):
        await eventually(lambda: _is(taker(pool) is not None))
        await commit(pool, *(an_event() for _ in range(1200)))
    assert await depth(pool) == 0


async def test_no_query_of_the_relay_scans_its_tables(pool: Pool) -> None:
    """The planner's choice for a table that is large, mostly published, and analyzed."""
    await pool.execute(
        """
        INSERT INTO outbox (event_id, type, body, created_at, published_at)
        SELECT n::text, 't', '{}', now() - n * interval '1 second', now() - n * interval '1 second'
          FROM generate_series(1, 50000) AS n
        """
    )
    await pool.execute("INSERT INTO inbox SELECT 'c', n::text, now() FROM generate_series(1, 50000) AS n")
    await pool.execute("INSERT INTO attempt SELECT 'c', n::text, 1, now() FROM generate_series(1, 50000) AS n")
    await pool.execute("ANALYZE outbox, inbox, attempt")
    long, limit = timedelta(days=7), 5000
    async with connection(pool) as tx:
        explaining: Any = Explaining(tx)
        await store.left_behind(explaining, long, 500, 10_000_000)
        await store.refused(explaining, 100)
        await store.retry(explaining, None)
        for each in (retention.OUTBOX, retention.INBOX, retention.ATTEMPTS):
            await each.forget_some(explaining, long.total_seconds(), limit)
        await store.reopen(explaining, datetime.now(UTC), datetime.now(UTC), None, limit)
        await store.unpublished(explaining)
        await store.count_refused(explaining)
    assert len(explaining.plans) == 9
    for plan in explaining.plans:
        assert "Seq Scan" not in plan, plan


class Explaining:
    """A connection that asks how each statement would be done, and finds nothing."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.plans: list[str] = []

    async def fetch(self, sql: str, *values: object) -> list[object]:
        rows = await self._tx.fetch(f"EXPLAIN {sql}", *values)
        self.plans.append("\n".join(line for (line,) in rows))
        return []

    async def fetchval(self, sql: str, *values: object) -> int:
        await self.fetch(sql, *values)
        return 0

    async def execute(self, sql: str, *values: object) -> str:
        await self.fetch(sql, *values)
        return "UPDATE 0"


@asynccontextmanager
async def another_pool(pool: Pool) -> AsyncIterator[Pool]:
    """As another process has it."""
    async with await open_pool(pool._connect_args[0], pool._connection_class.schema, size=2) as other:
        yield other


@asynccontextmanager
async def a_database(stack: Stack, name: str) -> AsyncIterator[str]:
    """A database that nothing else is in."""
    operator = await asyncpg.connect(stack.postgres_url)
    await operator.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(stack.postgres_url)._replace(path=f"/{name}"))
    finally:
        await operator.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await operator.close()


async def commits(pool: Pool) -> int:
    """How many transactions the database has seen, by its own count; sessions tell when they are idle or end."""
    async with pool.acquire() as tx:
        await tx.execute("SELECT pg_stat_force_next_flush()")
        return int(await tx.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))


async def leave_behind(pool: Pool, event: Event) -> None:
    """A row that nobody is publishing: its process died a while ago."""
    await pool.execute(
        "INSERT INTO outbox (event_id, type, body, created_at) VALUES ($1, $2, $3, now() - interval '1 minute')",
        event.id,
        event_type(event),
        encode_event(event).decode(),
    )


async def _is_led(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT EXISTS (SELECT FROM relay_lease WHERE held_until > now())"))


async def _is_refused(pool: Pool, expected: int) -> bool:
    return len(await refused(pool)) == expected


async def _is(condition: bool) -> bool:
    return condition


async def _is_depth(pool: Pool, expected: int) -> bool:
    return await depth(pool) == expected
