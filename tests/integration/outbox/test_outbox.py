"""What `libs.outbox` promises on Postgres alone: events and state are committed together, and applied once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from libs import telemetry
from libs.contracts import Event
from libs.contracts.limits import MAX_EVENT_BYTES
from libs.db import Pool, Tx, transaction
from libs.errors import Invalid
from libs.outbox import apply_once, begin_attempt, depth, emit, replay, seen, uncount_attempt
from libs.outbox.retention import forget_some
from tests.support.bus import an_event
from tests.support.fixtures import PoolFor
from tests.support.outbox import emitted


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("service")
    await pool.execute("CREATE TABLE applied (event_id text)")
    return pool


ANSWER = an_event("the answer")


async def record(event: Event, tx: Tx) -> list[Event]:
    """A handler that leaves a trace for each time it takes effect, and answers."""
    await tx.execute("INSERT INTO applied VALUES ($1)", event.id)
    return [ANSWER]


async def times_applied(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM applied"))


async def test_events_keep_their_order_and_their_content(pool: Pool) -> None:
    events: list[Event] = [an_event(f"upload-{number}") for number in range(20)]
    async with transaction(pool) as tx:
        await emit(tx, events)
    assert await emitted(pool) == events
    assert await depth(pool) == 20


async def test_a_rollback_emits_nothing(pool: Pool) -> None:
    async def emit_and_fail() -> None:
        async with transaction(pool) as tx:
            await emit(tx, [an_event()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await emit_and_fail()
    assert await emitted(pool) == []


async def test_events_carry_on_whose_behalf_they_were_emitted(pool: Pool) -> None:
    trace = telemetry.child_traceparent(None)
    with telemetry.bind(request_id="req_1", traceparent=trace):
        async with transaction(pool) as tx:
            await emit(tx, [an_event()])
    assert tuple(await pool.fetchrow("SELECT request_id, traceparent FROM outbox")) == ("req_1", trace)


async def test_an_event_too_large_for_the_broker_is_refused_where_it_is_made(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.outbox.outbox.MAX_EVENT_BYTES", 1000)
    async with transaction(pool) as tx:
        with pytest.raises(Invalid, match=r"upload\.aborted\.v1"):
            await emit(tx, [an_event("x" * 1000)])


async def test_a_redelivered_event_is_applied_once(pool: Pool) -> None:
    """JetStream delivers at least once; the second delivery changes and emits nothing."""
    event = an_event()

    assert await apply_once(pool, "service", record, event)
    assert not await apply_once(pool, "service", record, event)

    assert await times_applied(pool) == 1
    assert await emitted(pool) == [ANSWER]
    assert await seen(pool, "service", event.id)
    assert not await seen(pool, "other", event.id)


async def test_of_deliveries_at_the_same_time_one_takes_effect(pool: Pool) -> None:
    event = an_event()
    outcomes = await asyncio.gather(*(apply_once(pool, "service", record, event) for _ in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    assert await times_applied(pool) == 1


async def test_two_consumers_each_apply_it(pool: Pool) -> None:
    event = an_event()
    assert await apply_once(pool, "one", record, event)
    assert await apply_once(pool, "two", record, event)


async def test_a_handler_that_fails_leaves_nothing_and_may_be_tried_again(pool: Pool) -> None:
    event = an_event()

    async def fail(event: Event, tx: Tx) -> list[Event]:
        await record(event, tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await apply_once(pool, "service", fail, event)
    assert await times_applied(pool) == 0
    assert not await seen(pool, "service", event.id)
    assert await apply_once(pool, "service", record, event)


async def test_a_replay_reopens_what_was_published_and_only_that(pool: Pool) -> None:
    events = [an_event() for _ in range(3)]
    async with transaction(pool) as tx:
        await emit(tx, events)
    assert await replay(pool) == 0

    await pool.execute("UPDATE outbox SET published_at = now()")
    assert await replay(pool, event_ids=[events[1].id]) == 1
    assert await depth(pool) == 1

    created_at = await pool.fetchval("SELECT created_at FROM outbox LIMIT 1")
    assert await replay(pool, since=created_at + timedelta(seconds=1)) == 0
    assert await replay(pool, since=created_at) == 2
    assert await depth(pool) == 3


async def test_pruning_removes_what_is_old_and_settled(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await emit(tx, [an_event(), an_event(), an_event()])
    await apply_once(pool, "old", record, an_event())
    await apply_once(pool, "new", record, an_event())
    await pool.execute("UPDATE outbox SET published_at = now() - interval '8 days' WHERE seq = 1")
    await pool.execute("UPDATE outbox SET published_at = now() WHERE seq = 2")
    await pool.execute("UPDATE inbox SET seen_at = now() - interval '15 days' WHERE consumer = 'old'")

    assert await forget_some(pool) == 2
    assert await forget_some(pool) == 0
    assert await pool.fetch("SELECT seq FROM outbox WHERE seq <= 3 ORDER BY seq") == [(2,), (3,)]
    assert await pool.fetch("SELECT consumer FROM inbox") == [("new",)]


async def test_attempts_are_counted_across_processes_and_can_be_taken_back(pool: Pool) -> None:
    assert await begin_attempt(pool, "service", "event-1") == 1
    assert await begin_attempt(pool, "service", "event-1") == 2
    await uncount_attempt(pool, "service", "event-1")
    assert await begin_attempt(pool, "service", "event-1") == 2
    assert await begin_attempt(pool, "service", "event-2") == 1


def test_the_largest_event_fits_the_broker_as_a_dead_letter_too() -> None:
    max_payload = 8 * 1024 * 1024  # of NATS, as the stack configures it
    assert max_payload - 64 * 1024 > MAX_EVENT_BYTES * 4 / 3
