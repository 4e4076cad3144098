"""The fixtures that other tests stand on."""

from __future__ import annotations

import pytest

from libs.blobs import Blobs
from libs.db import transaction
from tests.support import emitted
from tests.support.fixtures import PoolFor
from tests.support.stack import Name, Stack


async def test_each_test_has_empty_schemas_of_its_own(pool_for: PoolFor, namespace: str) -> None:
    pool = await pool_for("spine")

    assert await emitted(pool) == []
    assert await pool.fetchval("SELECT current_schema()") == f"{namespace}_spine"


async def test_each_test_has_an_empty_bucket(blobs: Blobs) -> None:
    assert [found async for found in blobs.list("")] == []
    await blobs.put_bytes("a/b", b"bytes")
    assert await blobs.read("a/b", 1, 3) == b"yte"
    assert [found.key async for found in blobs.list("a/")] == ["a/b"]


@pytest.mark.parametrize("name", ["postgres", "nats", "s3"])
async def test_a_dependency_killed_comes_back_on_the_same_port(stack: Stack, name: Name) -> None:
    urls = (stack.postgres_url, stack.nats_url, stack.s3_url)
    await stack.kill(name)
    await stack.start(name)
    assert urls == (stack.postgres_url, stack.nats_url, stack.s3_url)


async def test_postgres_keeps_what_was_committed_before_a_kill(stack: Stack, pool_for: PoolFor) -> None:
    pool = await pool_for("spine")
    async with transaction(pool) as tx:
        await tx.execute("CREATE TABLE kept (value text)")
        await tx.execute("INSERT INTO kept VALUES ('here')")

    await stack.restart("postgres")

    assert await pool.fetchval("SELECT value FROM kept") == "here"
