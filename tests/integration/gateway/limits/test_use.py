"""What a project uses is counted where it is stored and removed, and is right at every moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.db import Pool, Tx, connection, transaction
from services.gateway.limits import store
from services.gateway.limits.store import Use
from services.gateway.limits.sweepers import sweep
from tests.integration.gateway.harness import Uploads
from tests.integration.gateway.large import LARGE_PROJECT, LARGE_TABLES, MODELS, PROJECTS, given_large_registry
from tests.integration.gateway.limits.harness import Limited
from tests.support.fixtures import PoolFor
from tests.support.plans import recorded, sequential_scans

OTHERS = ("proj_AAAAAAAAAA", "proj_BBBBBBBBBB")
TABLES = ("blob", "model")

_SUMS = """
    SELECT (SELECT coalesce(sum(size_bytes), 0)::bigint FROM blob WHERE project_id = $1) AS stored_bytes,
           (SELECT count(*) FROM blob WHERE project_id = $1) AS objects,
           (SELECT count(*) FROM model WHERE project_id = $1) AS models
"""


@dataclass(frozen=True)
class Step:
    """A change that many statements may make: rows come, rows go, changes are folded, a transaction fails."""

    what: str
    project: str
    first: int
    count: int


STEPS = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["add", "remove", "again", "fail", "fold"]),
        project=st.sampled_from(OTHERS),
        first=st.integers(0, 20),
        count=st.integers(1, 10),
    ),
    max_size=12,
)


async def add(tx: Tx, step: Step) -> None:
    numbers = range(step.first, step.first + step.count)
    await tx.execute(
        """
        INSERT INTO blob (project_id, sha256, size_bytes, key)
        SELECT $1, lpad(n::text, 64, '0'), n * 7, $1 || n FROM unnest($2::int[]) AS n ON CONFLICT DO NOTHING
        """,
        step.project,
        list(numbers),
    )
    await tx.execute(
        """
        INSERT INTO model (id, project_id, name, version) SELECT $1 || n, $1, 'm' || n, '1' FROM unnest($2::int[]) AS n
        ON CONFLICT DO NOTHING
        """,
        step.project,
        list(numbers),
    )


async def remove(tx: Tx, step: Step) -> None:
    for table, key in (("blob", "key"), ("model", "id")):
        await tx.execute(
            f"DELETE FROM {table} WHERE {key} = ANY (SELECT $1 || n FROM unnest($2::int[]) AS n)",
            step.project,
            list(range(step.first, step.first + step.count)),
        )


async def make(pool: Pool, step: Step) -> None:
    if step.what == "fold":
        await sweep(pool, None, datetime.now(UTC))  # type: ignore[arg-type]  # it needs no setting
        return
    tx: Any
    async with connection(pool) as tx:
        whole = tx.transaction()
        await whole.start()
        await (remove if step.what == "remove" else add)(tx, step)
        if step.what == "again":
            await remove(tx, step)
            await add(tx, step)
        await (whole.rollback() if step.what == "fail" else whole.commit())


async def compared(pool: Pool) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    async with connection(pool) as tx:
        uses = [await store.use_of(tx, project) for project in OTHERS]
        sums = [await tx.fetchrow(_SUMS, project) for project in OTHERS]
    return [
        ((use.stored_bytes, use.objects, use.models), tuple(row.values())) for use, row in zip(uses, sums, strict=True)
    ]


async def test_counters_equal_the_sums_whatever_happened(pool_for: PoolFor) -> None:
    pool = await pool_for("gateway")
    for project in OTHERS:
        await pool.execute("INSERT INTO project (id, name, slug) VALUES ($1, $1, lower(substr($1, 6)))", project)
    loop = asyncio.get_running_loop()

    @given(steps=STEPS)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(steps: list[Step]) -> None:
        async def run() -> None:
            for step in steps:
                await make(pool, step)
            for counted, summed in await compared(pool):
                assert counted == summed

        asyncio.run_coroutine_threadsafe(run(), loop).result()

    await asyncio.to_thread(check)


async def test_gateways_that_fold_at_once_lose_and_double_nothing(pool_for: PoolFor) -> None:
    pool = await pool_for("gateway")
    for project in OTHERS:
        await pool.execute("INSERT INTO project (id, name, slug) VALUES ($1, $1, lower(substr($1, 6)))", project)

    async def write(project: str) -> None:
        for n in range(20):
            await make(pool, Step("add", project, n, 3))
            await make(pool, Step("remove", project, n - 5, 2))

    async def fold() -> None:
        for _ in range(20):
            async with transaction(pool) as tx:
                await store.fold(tx, 7)

    await asyncio.gather(*(write(project) for project in OTHERS), fold(), fold(), fold())
    await sweep(pool, None, datetime.now(UTC))  # type: ignore[arg-type]

    assert await pool.fetchval("SELECT count(*) FROM project_usage_change") == 0
    for counted, summed in await compared(pool):
        assert counted == summed


async def test_what_is_uploaded_and_discarded_is_counted(limited: Limited) -> None:
    await limited.upload_directory({"config.json": b"{}", "model.safetensors": bytes(500)}, "kept")
    session = (await limited.open_archive(1000, "aborted"))["session_id"]
    during = await limited.use()
    await limited.call("DELETE", f"uploads/{session}")
    after = await limited.use()

    assert (during.models, during.open_uploads, during.reserved_bytes, during.stored_bytes) == (2, 1, 1000, 502)
    assert (after.models, after.open_uploads, after.reserved_bytes, after.stored_bytes) == (1, 0, 0, 502)


async def test_use_is_read_from_indexes_however_much_there_is(uploads: Uploads) -> None:
    await given_large_registry(uploads.pool)
    tables = LARGE_TABLES | {"project_usage", "project_usage_change", "request_window"}
    async with transaction(uploads.pool) as tx:
        await tx.execute(
            """
            INSERT INTO project_usage_change (project_id, models)
            SELECT 'proj_BBBBB' || lpad((n % 20)::text, 5, '0'), 1 FROM generate_series(1, 20000) AS n
            """
        )
        await tx.execute("INSERT INTO request_window SELECT 'key' || n, 0, 0 FROM generate_series(1, 10000) AS n")
        for table in tables:
            await tx.execute(f"ANALYZE {table}")
        with recorded(tx) as statements:
            use = await store.use_of(tx, LARGE_PROJECT)
            await store.models_of(tx, LARGE_PROJECT)
            await store.requests_taken(tx, "key1")
            await store.forget_requests(tx, "key1")
            await store.fold(tx, 100)
        scanned = await sequential_scans(tx, statements) & tables

    assert use == Use(
        stored_bytes=0,
        reserved_bytes=0,
        objects=0,
        models=20_000 // PROJECTS,
        open_uploads=0,
        open_uploads_of_key=0,
    )
    assert MODELS == 100_000
    assert scanned <= {"project_usage"}  # one row a project
