"""What the extractor's tests are extractor."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs import db
from libs.blobs import Blobs
from libs.config import schema_name
from tests.integration.extractor.harness import Extractor
from tests.support.fixtures import PoolFor, SignalsFor
from tests.support.stack import Stack


@pytest.fixture
async def extractor(
    pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs, stack: Stack, namespace: str
) -> AsyncIterator[Extractor]:
    """An extractor's schema, signals and bucket; no worker yet."""
    pool = await pool_for("extractor")
    async with await db.open_pool(stack.postgres_url, schema_name(namespace, "extractor"), size=1) as lease_pool:
        yield Extractor(pool, lease_pool, await signals_for("extractor"), blobs)
