"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from libs.blobs import Blobs
from libs.bus import Bus
from libs.db import connection
from libs.web import Principal, make_app
from services.gateway.config import GatewayConfig
from services.gateway.dependencies import Dependencies
from services.gateway.projects.access import ProjectKey
from services.gateway.routes import ROUTES
from tests.integration.gateway.harness import CHUNK, PROJECT, Uploads
from tests.support.fixtures import PoolFor, SignalsFor

_CONFIG = GatewayConfig(
    database_url="", nats_url="", s3_url="", operator_key="0123456789abcdef", chunk_size_bytes=CHUNK
)


@pytest.fixture
async def uploads(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs, bus: Bus) -> AsyncIterator[Uploads]:
    """The upload and model routes for one project, with parts of 1,000 bytes; nobody answers events but the test."""
    pool = await pool_for("gateway")
    async with connection(pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'test', 'test')", PROJECT)
    async with _serving(Dependencies(pool, await signals_for("gateway"), blobs, bus, _CONFIG)) as uploads:
        yield uploads


@pytest.fixture
async def replica(uploads: Uploads) -> AsyncIterator[Uploads]:
    """Another gateway beside the one of `uploads`: the same tables and bucket, and nothing of its memory."""
    shared = uploads.dependencies
    async with _serving(Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, shared.config)) as replica:
        yield replica


@asynccontextmanager
async def _serving(dependencies: Dependencies) -> AsyncIterator[Uploads]:
    async def authenticate(_token: str) -> Principal:
        return ProjectKey(project_id=PROJECT, project_slug="test", key_id="key", scopes=frozenset({"models"}))

    app = make_app(ROUTES, authenticate=authenticate, dependencies=dependencies, title="test")
    async with TestClient(TestServer(app), headers={"Authorization": "Bearer any"}) as client:
        yield Uploads(client, dependencies)
