"""What uploads cost the database: round trips of a part, and plans on tables that are large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.contracts import StreamProgress
from libs.db import Pool, connection, transaction
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.part_sizes import of_stream
from services.gateway.uploads.progress import Progress
from services.gateway.uploads.store import uploads as store
from services.gateway.uploads.sweepers import (
    ask_extractor_again,
    expire_uploads,
    give_up_uploads,
    prune_uploads,
)
from tests.integration.gateway.harness import CHUNK, FILES, PROJECT, STALE_AFTER, Uploads, part
from tests.integration.gateway.serving import with_a_key

LARGE = ("upload", "upload_stream", "upload_part", "upload_file", "upload_transfer", "upload_transfer_part", "blob")
ROWS = 100_000
Statement = tuple[str, tuple[Any, ...]]


@contextmanager
def logged(pool: Pool) -> Iterator[list[Statement]]:
    """Every statement that the pool's connections run within the block, BEGIN and COMMIT among them."""
    statements: list[Statement] = []

    def log(query: Any) -> None:
        rows = query.args or ()
        arguments = rows[0] if rows and isinstance(rows[0], tuple) else rows  # executemany's first row stands for all
        statements.append((query.query, tuple(arguments)))

    connections = [holder._con for holder in pool._holders if holder._con is not None]
    for each in connections:
        each.add_query_logger(log)
    try:
        yield statements
    finally:
        for each in connections:
            each.remove_query_logger(log)


async def test_a_part_takes_six_round_trips_at_most(uploads: Uploads) -> None:
    async with with_a_key(uploads) as gateway:
        session = (await gateway.open_archive(3 * CHUNK))["session_id"]
        for number in range(3):
            with logged(uploads.pool) as statements:
                await gateway.send_part(session, number, part(number))
            assert len(statements) <= 6, [query for query, _ in statements]
            assert statements[-1][0] == "COMMIT;"


async def test_a_small_chunk_of_a_file_takes_six_round_trips_at_most_also_the_first(uploads: Uploads) -> None:
    async with with_a_key(uploads) as gateway:
        data = bytes(3 * CHUNK)
        session = (await gateway.open_directory({"model.safetensors": data}))["session_id"]
        for number in range(3):
            path = f"model.safetensors?part_count=3&part_number={number}"
            with logged(uploads.pool) as statements:
                received = await gateway.send_file(session, path, data[:CHUNK])
            assert len(statements) <= 6, [query for query, _ in statements]
            assert (received["uploaded_file_count"], received["expected_file_count"]) == (number // 2, 1)


async def test_a_large_chunk_of_a_file_takes_six_round_trips_at_most(uploads: Uploads) -> None:
    async with with_a_key(uploads) as gateway:
        data, chunk = bytes(16 * 1024 * 1024), 6 * 1024 * 1024
        session = (await gateway.open_directory({"model.safetensors": data}))["session_id"]
        for number in range(2):
            path = f"model.safetensors?part_count=3&part_number={number}"
            with logged(uploads.pool) as statements:
                await gateway.send_file(session, path, data[number * chunk : (number + 1) * chunk])
        assert len(statements) <= 6, [query for query, _ in statements]


async def test_a_whole_small_file_takes_three_round_trips(uploads: Uploads) -> None:
    async with with_a_key(uploads) as gateway:
        session = (await gateway.open_directory(FILES))["session_id"]
        with logged(uploads.pool) as statements:
            await gateway.send_file(session, "config.json", FILES["config.json"])
        assert len(statements) == 3, [query for query, _ in statements]


@pytest.mark.parametrize("size", [CHUNK, 18 * 1024 * 1024])
async def test_a_request_of_a_stream_takes_one_round_trip_a_part_and_a_few_of_its_own(
    uploads: Uploads, size: int
) -> None:
    async with with_a_key(uploads) as gateway:
        data = bytes(size)
        session = (await gateway.open_directory({"model.safetensors": data}))["session_id"]
        half = size // 2
        await gateway.append(session, "model.safetensors", f"0-{half - 1}/{size}", data[:half])
        with logged(uploads.pool) as statements:
            await gateway.append(session, "model.safetensors", f"{half}-{size - 1}/{size}", data[half:], 200)
        parts = len([query for query, _ in statements if "INSERT INTO upload_transfer_part" in query])
        assert parts == -(-size // of_stream(size))
        assert len(statements) - parts <= 11, [query for query, _ in statements]


async def test_listing_a_hundred_sessions_takes_a_bounded_number_of_statements(uploads: Uploads) -> None:
    for n in range(5):
        await uploads.open_archive(1, name=f"m{n}")
        await uploads.open_directory(FILES, name=f"d{n}")
    counts = []
    for limit in (1, 10):
        with logged(uploads.pool) as statements:
            assert len((await uploads.call("GET", f"uploads?limit={limit}"))["data"]) == limit
        counts.append(len(statements))
    assert counts == [3, 3]


@pytest.fixture
async def large(uploads: Uploads) -> Uploads:
    """Tables of 100,000 rows each: sessions of every state, their streams, parts, files and transfers."""
    async with transaction(uploads.pool) as tx:
        await tx.execute(_FILL.format(rows=ROWS, project=PROJECT))
        for table in LARGE:
            await tx.execute(f"ANALYZE {table}")
    return uploads


async def test_every_sweep_and_list_is_on_an_index(large: Uploads) -> None:
    pool, now = large.pool, datetime.now(UTC)
    progress = Progress(pool)
    reports = [
        StreamProgress(upload_id=f"u{n}", stream_id=f"u{n}-0", parts_known=1, parts_done=0, members=0, bytes_out=0)
        for n in range(50)
    ]
    await progress.receive(msgspec.json.encode(reports))
    with logged(pool) as statements:
        await ask_extractor_again(pool, now, STALE_AFTER)
        await progress.write()
        await give_up_uploads(pool, now, timedelta(days=7))
        await expire_uploads(pool, now, lifetime(large.dependencies.config))
        await prune_uploads(pool, now, timedelta(days=7))
        async with connection(pool) as tx:
            await store.that_brought(tx, ["k1", "k2"])
            await store.live_among(tx, ["u1", "u2"])
        await large.call("GET", "uploads?limit=100")
        await large.call("GET", "uploads?limit=10&after=u500")
        await large.call("GET", "uploads/u10")
        await large.call("GET", "uploads/u14")
        await large.open_directory(FILES)

    explained = {query: arguments for query, arguments in statements if query.split()[0] in _EXPLAINED}
    assert len(explained) > 20
    for query, arguments in explained.items():
        async with connection(pool) as tx:
            plan = await tx.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
        scanned = set(_seq_scanned(msgspec.json.decode(plan)))
        assert not scanned & set(LARGE), f"{scanned} are read whole by {query}"


_EXPLAINED = frozenset({"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"})


def _seq_scanned(node: Any) -> Iterator[str]:
    """The tables that a plan reads whole."""
    if isinstance(node, list):
        for each in node:
            yield from _seq_scanned(each)
    elif isinstance(node, dict):
        if node.get("Node Type") == "Seq Scan":
            yield node["Relation Name"]
        for value in node.values():
            yield from _seq_scanned(value)


# One session in a hundred is live, and a few of these are due: what sweepers look for is rare.
_FILL = """
INSERT INTO upload (id, project_id, model_id, model_name, model_version, kind, status, chunk_size_bytes, error,
                    created_at, expires_at, ended_at, processing_at, pruned)
SELECT 'u' || n, '{project}', 'm' || n, 'name' || n % 1000, '1.0.0',
       CASE n % 4 WHEN 2 THEN 'directory' ELSE 'archive' END,
       CASE WHEN n % 100 = 10 THEN 'open' WHEN n % 1000 = 14 THEN 'processing' WHEN n % 2 = 0 THEN 'completed'
            ELSE 'failed' END,
       1000, '{{}}', now() - interval '30 days', now() + n % 1000 * interval '1 minute' - interval '5 minutes',
       now() - n % 1000 * interval '10 minutes', now() - n % 1000 * interval '10 minutes', n % 1000 > 20
  FROM generate_series(1, {rows}) n;
INSERT INTO upload_stream (id, upload_id, number, format, size_bytes, total_parts, parts_stored, unpacked, deadline_at)
SELECT 'u' || n || '-0', 'u' || n, 0, 'tar', 1000, 2, 1, n % 100 <> 10,
       CASE WHEN n % 100 = 10 THEN now() + n % 1000 * interval '1 minute' - interval '20 minutes' END
  FROM generate_series(1, {rows}) n;
INSERT INTO upload_part (stream_id, number, attempt, size_bytes, sha256)
SELECT 'u' || n || '-0', 0, 'a', 500, 'x' FROM generate_series(1, {rows}) n;
INSERT INTO upload_file (upload_id, number, path, size_bytes)
SELECT 'u' || n, 0, 'config.json', 10 FROM generate_series(1, {rows}) n;
INSERT INTO upload_transfer (upload_id, number, key, part_bytes)
SELECT 'u' || n, 0, 'k' || n, 10 FROM generate_series(1, {rows}) n;
INSERT INTO upload_transfer_part (upload_id, file_number, number, s3_number, etag, size_bytes)
SELECT 'u' || n, 0, 0, 1, 'e', 10 FROM generate_series(1, {rows}) n;
INSERT INTO blob (project_id, sha256, size_bytes, key)
SELECT '{project}', encode(sha256(n::text::bytea), 'hex'), n, 'k' || n FROM generate_series(1, {rows}) n;
"""
