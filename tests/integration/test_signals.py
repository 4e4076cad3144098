"""What `libs.signals` promises: a commit wakes whoever waits, and nobody waits for ever on a signal that got lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import asyncpg
import pytest

from libs import telemetry
from libs.db import Pool, transaction
from libs.signals import Signals, Subscription, notify
from libs.tasks import unless_set
from tests.support.fixtures import PoolFor, SignalsFor
from tests.support.stack import Stack

SOON_S = 10.0
QUIET_S = 0.2


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("service")


@pytest.fixture
async def signals(pool: Pool, signals_for: SignalsFor) -> Signals:
    return await signals_for("service")


@pytest.fixture
async def other(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection of another process."""
    connection = await asyncpg.connect(stack.postgres_url)
    yield connection
    await connection.close()


async def listening(subscription: Subscription) -> None:
    """The wake-up that says that LISTEN stands."""
    assert await subscription.wait(SOON_S)


async def signal(pool: Pool, channel: str, key: str = "") -> None:
    async with transaction(pool) as tx:
        await notify(tx, channel, key)


async def test_the_commit_wakes_and_not_the_statement(pool: Pool, signals: Signals) -> None:
    with signals.subscribe("parts") as parts:
        await listening(parts)
        async with transaction(pool) as tx:
            await notify(tx, "parts")
            assert not await parts.wait(QUIET_S)
        assert await parts.wait(SOON_S)
        assert not await parts.wait(QUIET_S)


async def test_other_processes_hear_it_without_a_notify_in_the_transaction(
    other: asyncpg.Connection, pool: Pool, signals: Signals, namespace: str
) -> None:
    """NOTIFY serializes the commits of a database: the LISTEN connection sends it instead."""
    heard: list[tuple[int, object]] = []
    last = asyncio.Event()

    def hear(_connection: object, pid: int, _channel: str, key: object) -> None:
        heard.append((pid, key))
        if key == "last":
            last.set()

    await other.add_listener(f"{namespace}_service_parts", hear)
    writers = set()
    for number in range(200):
        async with transaction(pool) as tx:
            writers.add(await tx.fetchval("SELECT pg_backend_pid()"))
            await notify(tx, "parts", f"{number % 5}")
    await signal(pool, "parts", "last")
    await asyncio.wait_for(last.wait(), SOON_S)
    assert {key for _, key in heard} == {*"01234", "last"}
    assert not writers & {pid for pid, _ in heard}


async def test_signals_of_one_moment_are_one_notify(other: asyncpg.Connection, pool: Pool, signals: Signals) -> None:
    with signals.subscribe("parts") as parts:
        await listening(parts)
        before = telemetry.notifications._value.get()
        for number in range(1000):
            signals.send("parts", f"{number}")
        heard = asyncio.Event()
        await other.add_listener(f"{signals._schema}_parts", lambda *_: heard.set())
        signals.send("parts", "last")
        await asyncio.wait_for(heard.wait(), SOON_S)
        assert telemetry.notifications._value.get() <= before + 2


async def test_signals_of_an_outage_are_heard_by_other_processes_after_it(
    other: asyncpg.Connection, pool: Pool, signals: Signals, namespace: str
) -> None:
    """Only the connection of the signals is lost, so that whoever hears them does so throughout."""
    heard = asyncio.Event()
    await other.add_listener(f"{namespace}_service_parts", lambda *_: heard.set())
    with signals.subscribe("parts") as parts:
        await listening(parts)
        lost = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
        assert await other.fetchval(lost, f"{signals._schema} signals")
        signals.send("parts", "missed")
        await asyncio.wait_for(heard.wait(), SOON_S)


async def test_whatever_ends_the_connection_signals_are_sent_by_the_next(pool: Pool, signals: Signals) -> None:
    """Also an error of the client library itself, which it raises for a connection that died within an operation."""

    class Broken:
        async def execute(self, *_arguments: object, **_more: object) -> None:
            raise RuntimeError("cannot switch to state 11; another operation (2) is in progress")

    signals._outgoing = {"t_parts": {"1", "2"}}
    with pytest.raises(RuntimeError):
        await signals._send(cast("asyncpg.Connection", Broken()))
    assert signals._outgoing == {"t_parts": {"1", "2"}}


async def test_a_process_without_signals_of_its_own_notifies_with_its_commit(
    other: asyncpg.Connection, pool_for: PoolFor, namespace: str
) -> None:
    pool = await pool_for("quiet")
    heard = asyncio.Event()
    await other.add_listener(f"{namespace}_quiet_parts", lambda *_: heard.set())
    await signal(pool, "parts")
    await asyncio.wait_for(heard.wait(), SOON_S)


async def test_a_rollback_wakes_nobody(pool: Pool, signals: Signals) -> None:
    async def notify_and_fail() -> None:
        async with transaction(pool) as tx:
            await notify(tx, "parts")
            raise ZeroDivisionError

    with signals.subscribe("parts") as parts:
        await listening(parts)
        with pytest.raises(ZeroDivisionError):
            await notify_and_fail()
        assert not await parts.wait(QUIET_S)


async def test_a_signal_between_two_waits_is_kept(pool: Pool, signals: Signals) -> None:
    with signals.subscribe("parts") as parts, signals.subscribe("parts") as witness:
        await listening(parts)
        await listening(witness)
        await signal(pool, "parts")
        assert await witness.wait(SOON_S)  # it has arrived, while nobody waited on `parts`
        assert await parts.wait(SOON_S)


async def test_a_key_is_heard_by_those_who_asked_for_it_and_for_all(pool: Pool, signals: Signals) -> None:
    with (
        signals.subscribe("parts") as everything,
        signals.subscribe("parts", "a") as of_a,
        signals.subscribe("parts", "b") as of_b,
        signals.subscribe("other") as other,
    ):
        for subscription in (everything, of_a, of_b, other):
            await listening(subscription)
        await signal(pool, "parts", "a")
        assert await everything.wait(SOON_S)
        assert await of_a.wait(SOON_S)
        await signal(pool, "parts")
        assert await of_b.wait(SOON_S)  # by the signal without a key: the one before it had another
        assert not await other.wait(QUIET_S)


async def test_schemas_do_not_hear_each_other(pool: Pool, signals: Signals, pool_for: PoolFor) -> None:
    stranger = await pool_for("stranger")
    with signals.subscribe("parts") as parts:
        await listening(parts)
        await signal(stranger, "parts")
        assert not await parts.wait(QUIET_S)


async def test_after_a_restart_of_postgres_everyone_is_woken_and_hears_again(
    stack: Stack, pool: Pool, signals: Signals
) -> None:
    with signals.subscribe("parts") as parts, signals.subscribe("parts", "a") as of_a:
        await listening(parts)
        await listening(of_a)
        await stack.restart("postgres")
        assert await parts.wait(SOON_S)
        assert await of_a.wait(SOON_S)
        await signal(pool, "parts", "a")
        assert await parts.wait(SOON_S)
        assert await of_a.wait(SOON_S)


async def test_signals_open_while_postgres_is_away_and_wake_when_it_is_there(stack: Stack, pool: Pool) -> None:
    await stack.stop("postgres")
    async with Signals.open(stack.postgres_url, "nobody") as signals:
        with signals.subscribe("parts") as parts:
            assert not await parts.wait(QUIET_S)
            await stack.start("postgres")
            assert await parts.wait(SOON_S)


async def test_unless_set_cancels_work_when_stopped() -> None:
    stop = asyncio.Event()
    cancelled = asyncio.Event()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await unless_set(stop, work())
    assert cancelled.is_set()


async def test_unless_set_raises_what_the_work_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await unless_set(asyncio.Event(), work())


async def test_unless_set_gives_up_even_work_that_loses_a_cancellation() -> None:
    """As asyncio.wait_for before Python 3.12 does, when what it waits for comes together with the cancellation."""
    stop = asyncio.Event()

    async def work() -> None:
        stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    await asyncio.wait_for(unless_set(stop, work()), 5)
