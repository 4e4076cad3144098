"""Which of Postgres' errors are Unavailable: those that pass by themselves, however they are raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from libs.db import DatabaseAway, Pool, Tx, connection, open_pool, transaction
from libs.errors import Unavailable
from tests.support.fixtures import PoolFor
from tests.support.postgres import read_only
from tests.support.stack import Stack


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("service")
    await pool.execute("CREATE TABLE thing (id int PRIMARY KEY)")
    return pool


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(Unavailable):
        yield


@asynccontextmanager
async def setting(pool: Pool, name: str, value: str) -> AsyncIterator[Tx]:
    """A transaction with a setting of its own."""
    async with transaction(pool) as tx:
        await tx.execute(f"SET LOCAL {name} = '{value}'")
        yield tx


async def test_a_server_that_takes_no_writes_is_away_for_writers_only(stack: Stack, pool: Pool) -> None:
    async with read_only(stack):
        with pytest.raises(DatabaseAway, match="read-only"):
            async with transaction(pool) as tx:
                await tx.execute("INSERT INTO thing VALUES (1)")
        async with connection(pool) as tx:
            assert await tx.fetchval("SELECT count(*) FROM thing") == 0
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO thing VALUES (1)")


async def test_after_a_failover_the_old_servers_connections_are_not_used_again(stack: Stack, pool: Pool) -> None:
    async def backend() -> int:
        async with connection(pool) as tx:
            return int(await tx.fetchval("SELECT pg_backend_pid()"))

    before = await backend()
    async with read_only(stack):
        with pytest.raises(DatabaseAway):
            async with transaction(pool) as tx:
                await tx.execute("INSERT INTO thing VALUES (1)")
    assert await backend() != before


async def test_a_statement_that_takes_too_long_is_unavailable(pool: Pool) -> None:
    with unavailable():
        async with setting(pool, "statement_timeout", "10ms") as tx:
            await tx.execute("SELECT pg_sleep(60)")


async def test_a_lock_that_is_not_given_in_time_is_unavailable(pool: Pool) -> None:
    async with transaction(pool) as holder:
        await holder.execute("LOCK TABLE thing")
        with unavailable():
            async with setting(pool, "lock_timeout", "10ms") as tx:
                await tx.execute("INSERT INTO thing VALUES (1)")


@pytest.mark.parametrize("name", ["idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_a_transaction_that_the_server_ended_meanwhile_is_unavailable(pool: Pool, name: str) -> None:
    with unavailable():
        async with setting(pool, name, "10ms") as tx:
            ended = asyncio.Event()
            tx.add_termination_listener(lambda _: ended.set())
            await asyncio.wait_for(ended.wait(), 10)
            await tx.execute("INSERT INTO thing VALUES (1)")


async def test_a_plan_that_a_migration_has_outdated_is_unavailable_at_most_once(pool: Pool, stack: Stack) -> None:
    """In a transaction asyncpg cannot prepare it anew by itself: it is broken already."""
    async with await open_pool(stack.postgres_url, pool_schema(pool), size=1) as small:

        async def read() -> None:
            async with transaction(small) as tx:
                await tx.fetch("SELECT thing FROM thing")  # the row as a value: its type changes with the table

        await read()
        await pool.execute("ALTER TABLE thing ADD COLUMN name text")
        await pool.execute("INSERT INTO thing VALUES (1, 'a')")
        try:
            await read()
        except Unavailable:
            await read()


async def test_a_prepared_statement_that_the_server_does_not_have_is_unavailable_once(pool: Pool, stack: Stack) -> None:
    """As after a failover behind a proxy: the connection is the same, its server another."""
    async with await open_pool(stack.postgres_url, pool_schema(pool), size=1) as small:

        async def read() -> None:
            async with connection(small) as tx:
                await tx.fetch("SELECT id FROM thing")

        await read()
        async with connection(small) as tx:
            await tx.execute("DEALLOCATE ALL")
        with unavailable():
            await read()
        await read()


def pool_schema(pool: Pool) -> str:
    return str(pool._connection_class.schema)
