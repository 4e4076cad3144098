"""Leases on a table of its own: claimed once, renewed together, and without effect once they are lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from libs.db import Pool, Tx, connection, transaction
from libs.leases import HeldLeases, Lease, LeaseLost, LeaseTable
from tests.support.fixtures import PoolFor

JOBS = LeaseTable[str](table="job", key="name", key_type="text", holder="worker", until="worker_until", fence="claims")
VISITS = LeaseTable[int](table="visit", key="id", key_type="bigint", until="due_at", clears_until=False)


@dataclass(frozen=True)
class Job:
    """A claim on a row of `job`."""

    key: str
    fence: int


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("service")
    await pool.execute(
        """
        CREATE TABLE job (name text PRIMARY KEY, worker text, worker_until timestamptz,
                          claims bigint NOT NULL DEFAULT 0, note text);
        CREATE TABLE visit (id bigint PRIMARY KEY, leased_by text, due_at timestamptz NOT NULL DEFAULT now(),
                            fence bigint NOT NULL DEFAULT 0);
        INSERT INTO job (name) VALUES ('a'), ('b');
        INSERT INTO visit (id) VALUES (1);
        """
    )
    return pool


async def claim(tx: Tx, name: str, holder: str, lease_s: float) -> Job | None:
    row = await tx.fetchrow(
        f"""
        UPDATE job SET {JOBS.claimed()} WHERE name = $3 AND (worker IS NULL OR worker_until <= now())
        RETURNING name, claims
        """,
        holder,
        lease_s,
        name,
    )
    return Job(row["name"], row["claims"]) if row else None


async def test_a_row_is_claimed_once_until_its_lease_expires_and_each_claim_has_a_higher_fence(pool: Pool) -> None:
    async with connection(pool) as tx:
        assert await claim(tx, "a", "one", 0.0) == Job("a", 1)
        assert await claim(tx, "a", "two", 60) == Job("a", 2)
        assert await claim(tx, "a", "three", 60) is None


async def test_a_holder_that_has_lost_its_lease_changes_nothing(pool: Pool) -> None:
    async with connection(pool) as tx:
        await claim(tx, "a", "one", 0.0)
        await claim(tx, "a", "two", 60)
        assert not await JOBS.release(tx, "a", 1, "note = $3", "one's")
        assert await JOBS.renew(tx, "one", [("a", 1)], 60) == set()
        assert await JOBS.release(tx, "a", 2, "note = $3", "two's")
        assert not await JOBS.release(tx, "a", 2, "note = $3", "again")
        assert tuple(await tx.fetchrow("SELECT worker, worker_until, note FROM job WHERE name = 'a'")) == (
            None,
            None,
            "two's",
        )


async def test_a_fence_alone_does_not_make_a_lease(pool: Pool) -> None:
    """Between two claims nobody has it, though the number is still the last one's."""
    async with connection(pool) as tx:
        await claim(tx, "a", "one", 60)
        await JOBS.release(tx, "a", 1)
        assert await JOBS.renew(tx, "one", [("a", 1)], 60) == set()


async def test_one_statement_renews_all_that_are_held_also_those_that_expired(pool: Pool) -> None:
    async with connection(pool) as tx:
        await claim(tx, "a", "one", 0.0)
        await claim(tx, "b", "one", 60)
        assert await JOBS.renew(tx, "one", [("a", 1), ("b", 1), ("b", 7)], 60) == {("a", 1), ("b", 1)}
        assert await claim(tx, "a", "two", 60) is None


async def test_a_time_that_is_also_the_next_claims_stays_when_a_lease_ends(pool: Pool) -> None:
    async with connection(pool) as tx:
        await tx.execute(f"UPDATE visit SET {VISITS.claimed()}", "one", 60.0)
        assert await VISITS.release(tx, 1, 1, "due_at = now() + make_interval(secs => $3)", 5.0)
        assert await tx.fetchval("SELECT leased_by IS NULL AND due_at < now() + interval '6 s' FROM visit")


def held(pool: Pool, lease_s: float, ended: Callable[[Lease[Job]], object] = lambda _: None) -> HeldLeases[Job]:
    return HeldLeases[Job](JOBS, pool, lease_s, ended)


async def begin(pool: Pool, leases: HeldLeases[Job], name: str, work: Callable[[], Awaitable[None]]) -> Lease[Job]:
    async with transaction(pool) as tx:
        job = await claim(tx, name, leases.holder, 60)
    assert job is not None
    lease = Lease(job, time.monotonic() + 60)

    async def run() -> None:
        await work()

    leases.begin(lease, run())
    return lease


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_lease_that_is_lost_cancels_its_task_and_no_other(pool: Pool) -> None:
    ended: list[str] = []
    leases = held(pool, 60, lambda lease: ended.append(lease.claim.key))
    lost, kept = [await begin(pool, leases, name, for_ever) for name in ("a", "b")]
    await pool.execute("UPDATE job SET worker = 'another', claims = claims + 1 WHERE name = 'a'")
    await leases.renew()
    assert lost.task is not None
    await asyncio.wait([lost.task])
    await asyncio.sleep(0)
    assert (lost.lost, kept.lost, ended, len(leases)) == (True, False, ["a"], 1)
    with pytest.raises(LeaseLost):
        await lost.held()
    await leases.end_all()


async def test_leases_are_kept_as_long_as_their_tasks_run(pool: Pool) -> None:
    leases, stop = held(pool, 0.3), asyncio.Event()
    lease = await begin(pool, leases, "a", for_ever)
    keeping = asyncio.create_task(leases.keep(stop))
    await asyncio.sleep(1.0)
    assert await pool.fetchval("SELECT worker_until > now() FROM job WHERE name = 'a'")
    assert not lease.lost
    stop.set()
    await keeping
    await leases.end_all()
    assert len(leases) == 0


async def test_a_task_that_breaks_is_logged_and_its_lease_expires(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError

    leases = held(pool, 60)
    lease = await begin(pool, leases, "a", breaks)
    assert lease.task is not None
    await asyncio.wait([lease.task])
    await asyncio.sleep(0)
    assert "job a broke" in caplog.text
    assert len(leases) == 0
    assert await pool.fetchval("SELECT worker IS NOT NULL FROM job WHERE name = 'a'")
