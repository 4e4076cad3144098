"""What `libs.db.migrate` promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from libs.db import MigrationChanged, migrate, open_pool
from tests.support.stack import Stack


def folder(root: Path, owner: str, **files: str) -> Path:
    """A folder of migrations that belongs to `owner`."""
    migrations = root / owner / "migrations"
    migrations.mkdir(parents=True, exist_ok=True)
    for name, sql in files.items():
        (migrations / f"{name}.sql").write_text(sql)
    return migrations


async def tables(stack: Stack, schema: str) -> set[str]:
    async with await open_pool(stack.postgres_url, schema, size=1) as pool:
        rows = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    return {name for (name,) in rows} - {"migration"}


async def test_folders_are_applied_in_order_and_each_file_once(stack: Stack, namespace: str, tmp_path: Path) -> None:
    first = folder(tmp_path, "outbox", **{"0001_a": "CREATE TABLE a (id int)"})
    second = folder(tmp_path, "uploads", **{"0002_c": "ALTER TABLE b ADD x int", "0001_b": "CREATE TABLE b (id int)"})

    applied = await migrate(stack.postgres_url, namespace, first, second)
    assert applied == ["outbox/0001_a.sql", "uploads/0001_b.sql", "uploads/0002_c.sql"]
    assert await migrate(stack.postgres_url, namespace, first, second) == []
    assert await tables(stack, namespace) == {"a", "b"}

    folder(tmp_path, "uploads", **{"0003_d": "CREATE TABLE d (id int); CREATE TABLE e (id int)"})
    assert await migrate(stack.postgres_url, namespace, first, second) == ["uploads/0003_d.sql"]


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    stack: Stack, namespace: str, tmp_path: Path
) -> None:
    migrations = folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id int)"})
    await migrate(stack.postgres_url, namespace, migrations)
    folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id bigint)"})
    with pytest.raises(MigrationChanged, match=r"uploads/0001_a\.sql"):
        await migrate(stack.postgres_url, namespace, migrations)


async def test_a_migration_that_fails_leaves_nothing_of_itself(stack: Stack, namespace: str, tmp_path: Path) -> None:
    migrations = folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id int); SELECT 1/0"})
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(stack.postgres_url, namespace, migrations)
    assert await tables(stack, namespace) == set()

    folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id int)"})
    assert await migrate(stack.postgres_url, namespace, migrations) == ["uploads/0001_a.sql"]


async def test_of_processes_that_start_at_once_one_migrates(stack: Stack, namespace: str, tmp_path: Path) -> None:
    migrations = folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id int)"})
    results = await asyncio.gather(*(migrate(stack.postgres_url, namespace, migrations) for _ in range(5)))
    assert sorted(results) == [[], [], [], [], ["uploads/0001_a.sql"]]


async def test_two_schemas_of_one_database_do_not_meet(stack: Stack, namespace: str, tmp_path: Path) -> None:
    migrations = folder(tmp_path, "uploads", **{"0001_a": "CREATE TABLE a (id int)"})
    schemas = [f"{namespace}_gateway", f"{namespace}_validator"]
    await asyncio.gather(*(migrate(stack.postgres_url, schema, migrations) for schema in schemas))
    for schema in schemas:
        assert await tables(stack, schema) == {"a"}
