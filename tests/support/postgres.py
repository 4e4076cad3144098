"""Faults of Postgres that a test brings about, and takes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.support.eventually import eventually
from tests.support.stack import Stack


@asynccontextmanager
async def read_only(stack: Stack) -> AsyncIterator[None]:
    """Within the block the server takes no writes, as a primary after a failover."""
    operator = await asyncpg.connect(stack.postgres_url)
    try:
        await _set_read_only(operator, "on")
        yield
    finally:
        await _set_read_only(operator, "off")
        await operator.close()


async def _set_read_only(operator: asyncpg.Connection, value: str) -> None:
    await operator.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await operator.execute("SELECT pg_reload_conf()")

    async def in_force() -> bool:
        return bool(await operator.fetchval("SHOW default_transaction_read_only") == value)

    await eventually(in_force)
