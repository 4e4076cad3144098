"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from libs.blobs import Blobs
from libs.bus import Bus
from libs.db import connection
from libs.sealing import new_key
from services.gateway.config import GatewayConfig
from services.gateway.dependencies import Dependencies
from tests.integration.gateway.harness import CHUNK, PROJECT, Uploads
from tests.integration.gateway.installation import Installation
from tests.integration.gateway.serving import OPERATOR_KEY, any_key, serving
from tests.support.fixtures import PoolFor, SignalsFor

_CONFIG = GatewayConfig(
    database_url="",
    nats_url="",
    s3_url="",
    operator_key=OPERATOR_KEY,
    chunk_size_bytes=CHUNK,
    secrets_key=new_key(),
)


@pytest.fixture
async def uploads(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs, bus: Bus) -> AsyncIterator[Uploads]:
    """The gateway for one project, with parts of 1,000 bytes; every token is a key, and only the test sends events."""
    pool = await pool_for("gateway")
    async with connection(pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'test', 'test')", PROJECT)
    dependencies = Dependencies(pool, await signals_for("gateway"), blobs, bus, _CONFIG)
    async with serving(dependencies, token="any", authenticate=any_key) as client:
        yield Uploads(client, dependencies)


@pytest.fixture
async def replica(uploads: Uploads) -> AsyncIterator[Uploads]:
    """Another gateway beside the one of `uploads`: the same tables and bucket, and nothing of its memory."""
    shared = uploads.dependencies
    dependencies = Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, shared.config)
    async with serving(dependencies, token="any", authenticate=any_key) as client:
        yield Uploads(client, dependencies)


@pytest.fixture
async def installation(pool_for: PoolFor) -> AsyncIterator[Installation]:
    """The gateway without projects; keys are really checked."""
    pool = await pool_for("gateway")
    dependencies: Any = SimpleNamespace(pool=pool)  # all that the routes of projects and of the catalog use
    async with serving(dependencies) as client:
        yield Installation(client, pool)
