"""A role of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.stack import Stack


@pytest.fixture
async def role(stack: Stack) -> AsyncIterator[str]:
    """A role of the test's own, which may make schemas."""
    name = f"r{secrets.token_hex(5)}"
    operator = await asyncpg.connect(stack.postgres_url)
    await operator.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    await operator.execute(f"GRANT CREATE ON DATABASE {urlsplit(stack.postgres_url).path[1:]} TO {name}")
    yield name
    await operator.execute(f"DROP OWNED BY {name} CASCADE")
    await operator.execute(f"DROP ROLE {name}")
    await operator.close()
