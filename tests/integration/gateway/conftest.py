"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from libs.blobs import Blobs
from libs.bus import Bus
from libs.db import connection
from libs.web import Principal, make_app
from services.gateway.config import GatewayConfig
from services.gateway.models.routes import ROUTES as MODELS
from services.gateway.state import Gateway
from services.gateway.uploads.routes import ROUTES as UPLOADS
from tests.integration.gateway.uploading import CHUNK, PROJECT, Uploads
from tests.support.fixtures import PoolFor, SignalsFor


@pytest.fixture
async def uploads(pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs, bus: Bus) -> AsyncIterator[Uploads]:
    """The upload and model routes for one project, with parts of 1,000 bytes; nobody answers events but the test."""
    pool = await pool_for("gateway")
    config = GatewayConfig(
        database_url="", nats_url="", s3_url="", operator_key="0123456789abcdef", chunk_size_bytes=CHUNK
    )
    state = Gateway(pool, await signals_for("gateway"), blobs, bus, config)
    async with connection(pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'test', 'test')", PROJECT)

    async def authenticate(_token: str) -> Principal:
        return Principal(project_id=PROJECT, project_slug="test", key_id="key", scopes=frozenset({"models"}))

    app = make_app([*UPLOADS, *MODELS], authenticate=authenticate, state=state, title="test")
    async with TestClient(TestServer(app), headers={"Authorization": "Bearer any"}) as client:
        yield Uploads(client, state)
