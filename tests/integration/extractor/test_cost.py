"""What a part, a claim and a sweep cost, counted."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

from libs import telemetry
from libs.contracts import Part, new_id
from libs.db import Pool, transaction
from services.extractor.store import files, leases, retention, streams
from services.extractor.store.leases import LEASES
from services.extractor.worker import Worker
from tests.integration.extractor.harness import PROJECT, Extractor, tar_of

ROWS = 100_000
BUSY = "proj_busy"


async def test_part_costs_at_most_four_round_trips(extractor: Extractor) -> None:
    """From its event until it is read: three to record it, one to find it; none to pass that on in the process."""
    upload = extractor.upload(tar_of({"model.bin": random.Random(1).randbytes(3_000_000)}), part_bytes=100_000)
    warm, counted = 10, 15
    async with extractor.working(extractor.config_with(poll_s=600, lease_s=600)):
        await upload.open()
        for number in range(warm):
            await read_to(upload, number)
        queries = await logged(extractor.pool)
        notifications = telemetry.notifications._value.get()
        for number in range(warm, warm + counted):
            await read_to(upload, number)
        assert telemetry.notifications._value.get() == notifications
        assert len(queries) <= 4 * counted, queries[:8]
        await upload.send(range(warm + counted, len(upload.pieces)))
        await upload.extracted()


async def read_to(upload: Any, number: int) -> None:
    await upload.send([number])
    await upload.extractor.until_progress(lambda seen: seen.parts_done == number + 1)


async def logged(pool: Pool) -> list[str]:
    """What is sent to Postgres by any connection of the pool from now on."""
    queries: list[str] = []
    async with AsyncExitStack() as held:
        for _ in range(pool.get_max_size()):
            connection = await held.enter_async_context(pool.acquire())
            connection.add_query_logger(lambda record: queries.append(record.query))
    return queries


async def test_parts_of_one_stream_that_arrive_at_once_are_all_counted(extractor: Extractor) -> None:
    """No lock is taken for them; not even the opening of the stream may miss one."""
    upload = extractor.upload(tar_of({"model.bin": random.Random(1).randbytes(2_000_000)}), part_bytes=50_000)
    numbers = list(range(len(upload.pieces)))
    random.Random(2).shuffle(numbers)
    await asyncio.gather(upload.open(*numbers[:3]), *(upload.report_part(number) for number in numbers))
    row = await extractor.pool.fetchrow("SELECT ready_parts, claimable FROM extraction")
    assert (row["ready_parts"], row["claimable"]) == (len(numbers), True)
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == len(numbers)


async def test_workers_wake_only_for_what_they_can_claim(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    fill = Worker._fill

    async def counted(*args: Any) -> float:
        nonlocal looks
        looks += 1
        return await fill(*args)

    monkeypatch.setattr(Worker, "_fill", counted)
    upload = extractor.upload(tar_of({"model.bin": random.Random(1).randbytes(3_000_000)}), part_bytes=100_000)
    async with extractor.working(extractor.config_with(poll_s=600, lease_s=600)):
        await upload.open()
        await upload.send([0])
        await extractor.until_progress(lambda seen: seen.parts_done == 1)
        before = looks
        await upload.send(range(1, len(upload.pieces) - 1))
        await extractor.until_progress(lambda seen: seen.parts_done == len(upload.pieces) - 1)
        assert looks == before
        await upload.send([len(upload.pieces) - 1])
        await upload.extracted()


async def test_no_statement_of_the_queue_reads_the_whole_table(extractor: Extractor) -> None:
    """At 100,000 queued streams of 1,000 projects, and as many that have ended."""
    await given_many(extractor)
    async with transaction(extractor.pool) as tx:
        explained: Any = Explained(tx)
        claims = await leases.claim(explained, "me", 16, 60, of_one_project=12)
        assert len(claims) == 16
        assert len({claim.stream.project_id for claim in claims}) == 16
        await leases.next_claim_s(explained, "me")
        await LEASES.renew(explained, "me", [(each.key, each.fence) for each in claims], 60)
        stream = claims[0].stream
        await streams.add_part(explained, stream.upload_id, stream.id, Part(1, "a", 1))
        await files.parts_from(explained, stream.id, 0)
        await streams.resume(explained, stream.upload_id, [stream.id])
        await files.delete_of(explained, stream.id)
        assert await retention.EXTRACTIONS.forget_some(explained, 3600, 500) == 500
        assert await retention.ENDED_UPLOADS.forget_some(explained, 3600, 500) == 500
        await streams.end_upload(explained, stream.upload_id)
    assert len(explained.plans) == 13
    for sql, plan in explained.plans:
        assert "Seq Scan on extraction" not in plan, f"{sql}\n{plan}"
        assert "Seq Scan on ended_upload" not in plan, f"{sql}\n{plan}"


class Explained:
    """A transaction that keeps the plan of each statement."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.plans: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        async def run(sql: str, *args: object) -> Any:
            rows = await self._tx.fetch(f"EXPLAIN {sql}", *args)
            self.plans.append((sql, "\n".join(row[0] for row in rows)))
            return await getattr(self._tx, name)(sql, *args)

        return run


async def given_many(extractor: Extractor) -> None:
    """Nine tenths of the queue are one project's, and older than all others."""
    stream = """
        jsonb_build_object('id', 's' || n, 'upload_id', 'u' || n, 'model_id', 'm', 'number', 0, 'format', 'tar',
            'size_bytes', 1, 'total_parts', 2,
            'project_id', CASE WHEN n <= 90000 THEN $2::text ELSE 'proj_' || n % 1000 END)"""
    await extractor.pool.execute(
        f"""
        INSERT INTO extraction (stream_id, upload_id, stream, total_parts, ready_parts, not_before)
        SELECT 's' || n, 'u' || n, {stream}, 2, 1, now() - make_interval(secs => $1 - n)
          FROM generate_series(1, $1) AS n
        """,
        ROWS,
        BUSY,
    )
    await extractor.pool.execute(
        f"""
        INSERT INTO extraction (stream_id, upload_id, stream, total_parts, state, ended_at)
        SELECT 's' || n, 'u' || n, {stream}, 2, 'stopped', now() - make_interval(secs => n)
          FROM generate_series($1 + 1, $1 * 2) AS n
        """,
        ROWS,
        BUSY,
    )
    await extractor.pool.execute(
        """
        INSERT INTO extraction_part (stream_id, number, attempt, size_bytes, upload_id)
        SELECT 's' || n, 0, 'a', 1, 'u' || n FROM generate_series(1, $1) AS n
        """,
        ROWS,
    )
    await extractor.pool.execute(
        """
        INSERT INTO extraction_file (stream_id, number, path, size_bytes, sha256, key)
        SELECT 's' || n, 0, 'a', 1, '', 'k' FROM generate_series(1, $1) AS n
        """,
        ROWS,
    )
    await extractor.pool.execute(
        """
        INSERT INTO ended_upload (upload_id, ended_at)
        SELECT 'e' || n, now() - make_interval(secs => n) FROM generate_series(1, $1) AS n
        """,
        ROWS,
    )
    await extractor.pool.execute("ANALYZE extraction, extraction_part, extraction_file, ended_upload")


async def test_project_with_many_queued_streams_keeps_no_other_waiting(extractor: Extractor) -> None:
    many = [extractor.upload(tar_of({"a": b"b"})) for _ in range(100)]
    for upload in many:
        await upload.store(0)
        await upload.open(*range(len(upload.pieces)))
    other = extractor.upload(tar_of({"a": b"b"}), project_id="proj_other")
    await other.store(*range(len(other.pieces)))
    await other.open(*range(len(other.pieces)))
    async with transaction(extractor.pool) as tx:
        first = await leases.claim(tx, "me", 4, 60, of_one_project=3)
        assert "proj_other" in {claim.stream.project_id for claim in first}
        second = await leases.claim(tx, "me", 4, 60, of_one_project=3)
    assert len(first) == 4
    assert second == []  # the fourth place is kept for another project
    assert sum(claim.stream.project_id == PROJECT for claim in first) == 3


async def test_what_has_ended_goes_in_batches(extractor: Extractor) -> None:
    for _ in range(5):
        await extractor.upload(tar_of({"a": b"b"})).open(0)
    await extractor.pool.execute(
        "UPDATE extraction SET state = 'stopped', ended_at = now() - interval '1 hour', stream_id = stream_id"
    )
    await extractor.pool.execute(
        "INSERT INTO ended_upload (upload_id, ended_at) VALUES ($1, now() - interval '1 hour'), ($2, now())",
        new_id(),
        new_id(),
    )
    forgotten = []
    for _ in range(4):
        async with transaction(extractor.pool) as tx:
            forgotten.append(await retention.EXTRACTIONS.forget_some(tx, 60, 2))
    assert forgotten == [2, 2, 1, 0]
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == 0
    async with transaction(extractor.pool) as tx:
        assert await retention.ENDED_UPLOADS.forget_some(tx, 60, 2) == 1
