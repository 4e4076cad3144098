"""What `libs.db` promises about pools and transactions, on a real Postgres that comes and goes."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import pytest
from asyncpg.exceptions import InterfaceError

from libs.db import Pool, after_commit, connection, open_pool, transaction, transactions
from libs.errors import Unavailable
from tests.support.fixtures import PoolFor
from tests.support.stack import Stack


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("service")
    await pool.execute("CREATE TABLE thing (id int PRIMARY KEY, body jsonb)")
    return pool


async def test_a_transaction_commits_what_its_block_did(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO thing (id) VALUES (1)")
    assert await pool.fetchval("SELECT count(*) FROM thing") == 1


async def test_whatever_is_raised_inside_rolls_back_and_arrives_as_it_is(pool: Pool) -> None:
    async def write_and_fail() -> None:
        async with transaction(pool) as tx:
            await tx.execute("INSERT INTO thing (id) VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_and_fail()
    assert await pool.fetchval("SELECT count(*) FROM thing") == 0


async def test_callbacks_run_after_the_commit_in_order_and_one_that_fails_stops_none(pool: Pool) -> None:
    called: list[str] = []

    def fail() -> None:
        called.append("b")
        raise ZeroDivisionError

    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO thing (id) VALUES (1)")
        after_commit(tx, lambda: called.append("a"))
        after_commit(tx, fail)
        after_commit(tx, lambda: called.append("c"))
        assert called == []
    assert called == ["a", "b", "c"]


async def test_a_transaction_that_rolls_back_calls_nobody_nor_does_the_next_one(pool: Pool) -> None:
    called: list[str] = []
    await pool.execute("ALTER TABLE thing ADD CONSTRAINT later UNIQUE (body) DEFERRABLE INITIALLY DEFERRED")

    async def fail_at_commit() -> None:
        async with transaction(pool) as tx:
            await tx.execute("INSERT INTO thing VALUES (1, '1'), (2, '1')")
            after_commit(tx, lambda: called.append("a"))

    with pytest.raises(asyncpg.UniqueViolationError):
        await fail_at_commit()
    async with transaction(pool):
        pass
    assert called == []


async def test_only_a_transaction_has_an_end_to_wait_for(pool: Pool) -> None:
    async with connection(pool) as tx:
        with pytest.raises(RuntimeError, match="needs a transaction"):
            after_commit(tx, lambda: None)


async def test_the_errors_of_statements_arrive_as_they_are(pool: Pool) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(pool) as tx:
            await tx.execute("INSERT INTO thing (id) VALUES (1), (1)")
    with pytest.raises(InterfaceError, match="expects 1 argument"):
        async with connection(pool) as tx:
            await tx.fetch("SELECT $1::int")


async def test_jsonb_is_python_both_ways_and_takes_structs(pool: Pool) -> None:
    class Point(msgspec.Struct):
        x: int
        name: str

    await pool.execute("INSERT INTO thing VALUES (1, $1), (2, $2)", Point(1, "ü"), [1, None, {"a": 2.5}])

    assert await pool.fetchval("SELECT body FROM thing WHERE id = 1") == {"x": 1, "name": "ü"}
    assert await pool.fetchval("SELECT body FROM thing WHERE id = 2") == [1, None, {"a": 2.5}]
    assert await pool.fetchval("SELECT body->>'name' FROM thing WHERE id = 1") == "ü"


async def test_a_connection_that_is_cut_inside_is_unavailable_and_the_next_one_works(pool: Pool) -> None:
    async def write_on_a_cut_connection() -> None:
        async with transaction(pool) as tx:
            victim = await tx.fetchval("SELECT pg_backend_pid()")
            await pool.execute("SELECT pg_terminate_backend($1, 5000)", victim)
            await tx.execute("INSERT INTO thing (id) VALUES (1)")

    with pytest.raises(Unavailable):
        await write_on_a_cut_connection()
    async with transaction(pool) as tx:
        assert await tx.fetchval("SELECT count(*) FROM thing") == 0


async def test_the_victim_of_a_deadlock_is_unavailable(pool: Pool) -> None:
    await pool.execute("INSERT INTO thing (id) VALUES (1), (2)")
    locked = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with transaction(pool) as tx:
            await tx.execute("UPDATE thing SET body = '1' WHERE id = $1", first)
            await locked.wait()
            await tx.execute("UPDATE thing SET body = '1' WHERE id = $1", second)

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [Unavailable]


async def test_a_pool_without_a_free_connection_is_unavailable(
    stack: Stack, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_ACQUIRE_TIMEOUT_S", 0.05)
    async with await open_pool(stack.postgres_url, "public", size=1) as small:
        async with connection(small):
            with pytest.raises(Unavailable):
                async with connection(small):
                    pass
        async with connection(small) as tx:
            assert await tx.fetchval("SELECT 1") == 1


async def test_while_postgres_is_away_everything_is_unavailable_and_afterwards_nothing_is(
    stack: Stack, pool: Pool
) -> None:
    await stack.kill("postgres")
    with pytest.raises(Unavailable):
        async with transaction(pool):
            pass
    with pytest.raises(Unavailable):
        async with connection(pool):
            pass
    await stack.start("postgres")
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO thing (id) VALUES (1)")


async def test_a_server_that_dies_at_any_moment_is_unavailable_and_nothing_else(stack: Stack, pool: Pool) -> None:
    """Before, in and between statements, at BEGIN and at COMMIT: ten writers find every moment."""
    done = asyncio.Event()
    outages = 0

    async def write() -> None:
        nonlocal outages
        while not done.is_set():
            try:
                async with transaction(pool) as tx:
                    await tx.fetch("SELECT * FROM thing LIMIT 1")
                    await tx.execute("INSERT INTO thing (id) VALUES ((random() * 1e9)::int) ON CONFLICT DO NOTHING")
            except Unavailable:
                outages += 1

    async with asyncio.TaskGroup() as writers:
        for _ in range(10):
            writers.create_task(write())
        for end in (stack.stop, stack.kill) * 3:
            await end("postgres")
            await stack.start("postgres")
        done.set()
    assert outages


async def test_a_pool_waits_until_postgres_is_up(stack: Stack, pool: Pool) -> None:
    await stack.stop("postgres")
    opening = asyncio.create_task(open_pool(stack.postgres_url, "public"))
    await stack.start("postgres")
    async with await opening as late, connection(late) as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_a_wrong_password_is_raised_and_not_waited_for(stack: Stack) -> None:
    wrong = stack.postgres_url.replace("@", "x@", 1)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await open_pool(wrong, "public")
