"""Clients that do not read take their own project's share of downloads, for a while, and nothing of others'."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from libs.admission import Slots
from libs.blobs import Blobs
from libs.contracts import StoredFile
from libs.web import BodyLimits, Principal, Request, Route, make_app, serve
from services.gateway.config import GatewayConfig
from services.gateway.dependencies import Dependencies
from services.gateway.models.download import send_object
from services.gateway.projects.access import READ_MODELS, ProjectKey
from tests.support.eventually import eventually

CONTENT = random.Random(7).randbytes(40_000_000)  # more than any socket's buffers hold
FILE = StoredFile(
    path="model.safetensors", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest(), key="key"
)
SHARE = 2


@asynccontextmanager
async def gateway(blobs: Blobs, limits: BodyLimits) -> AsyncIterator[tuple[str, Slots]]:
    """Serves FILE to the project that the bearer token names: its URL, and the slots."""
    config = GatewayConfig(
        database_url="",
        nats_url="",
        s3_url="",
        operator_key="0123456789abcdef",
        downloads_at_once=SHARE + 1,
        downloads_at_once_per_project=SHARE,
    )
    dependencies = Dependencies(cast(Any, None), cast(Any, None), blobs, cast(Any, None), config)

    async def authenticate(token: str) -> Principal:
        return ProjectKey(project_id=token, project_slug=token, key_id="key", scopes=frozenset({"models"}))

    async def send(request: Request[Dependencies]) -> web.StreamResponse:
        return await send_object(request, FILE)

    route = Route("GET", "file", send, summary="The file.", access=READ_MODELS)
    app = make_app([route], authenticate=authenticate, dependencies=dependencies, title="test", limits=limits)
    await blobs.put_bytes(FILE.key, CONTENT)
    async with serve(app, "127.0.0.1", 0, drain_s=0.2) as port:
        yield f"http://127.0.0.1:{port}/v1/file", dependencies.downloads.slots


@asynccontextmanager
async def not_reading(url: str, project: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that asks, and reads nothing but the status."""
    host = url.split("/")[2]
    reader, writer = await asyncio.open_connection(*host.split(":"), limit=1024)
    writer.write(f"GET /v1/file HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {project}\r\n\r\n".encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


async def download(url: str, project: str) -> tuple[int, bytes]:
    """Status and body."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {project}"}) as session,
        session.get(url) as answer,
    ):
        if answer.status != 200:
            assert answer.headers["Retry-After"]
        return answer.status, await answer.read()


async def test_slow_readers_of_one_project_do_not_stop_another(blobs: Blobs) -> None:
    """They hold their share; one more of theirs is refused, which costs it no wait, and the others go on."""
    async with (
        gateway(blobs, BodyLimits()) as (url, slots),
        not_reading(url, "slow"),
        not_reading(url, "slow"),
    ):
        assert slots.held_by("slow") == SHARE
        assert (await download(url, "slow"))[0] == 503
        assert await download(url, "other") == (200, CONTENT)
        assert slots.held_by("slow") == SHARE


async def test_a_download_that_nobody_reads_is_ended(blobs: Blobs, caplog: pytest.LogCaptureFixture) -> None:
    """Its slot comes free, and so does the connection to storage; the answer ends short."""
    limits = BodyLimits(idle_s=0.2)
    async with gateway(blobs, limits) as (url, slots), not_reading(url, "slow") as reader:

        async def free() -> bool:
            return slots.taken == 0

        await eventually(free)
        received = 0
        while piece := await reader.read(1_000_000):
            received += len(piece)
        assert received < len(CONTENT)
        assert await download(url, "slow") == (200, CONTENT)
    assert "broken off" in caplog.text


async def test_a_download_that_trickles_is_ended(blobs: Blobs) -> None:
    """A rate that nobody reaches stands for a client that is below the real one."""
    limits = BodyLimits(min_rate_bytes_per_s=1024**4, window_s=1e-9)
    async with gateway(blobs, limits) as (url, slots):
        with pytest.raises(aiohttp.ClientError):
            await download(url, "slow")
        assert slots.taken == 0
