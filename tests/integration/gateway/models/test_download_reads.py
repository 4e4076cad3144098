"""What clients download counts as read, where there is a cold tier."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from libs.blobs import Blobs
from libs.contracts import StoredFile
from libs.web import Principal, Request, Route, make_app, serve
from services.gateway.config import GatewayConfig
from services.gateway.dependencies import Dependencies
from services.gateway.models.download import send_object
from services.gateway.projects.access import READ_MODELS, ProjectKey

FILE = StoredFile(path="config.json", size_bytes=2, sha256="0" * 64, key="key")


@pytest.mark.parametrize("cold_url", [None, "http://key:secret@127.0.0.1:9/cold"])
async def test_a_download_is_noted_as_a_read(blobs: Blobs, cold_url: str | None) -> None:
    """But not an answer that has no bytes of the object."""
    config = GatewayConfig(
        database_url="", nats_url="", s3_url="", s3_cold_url=cold_url, operator_key="0123456789abcdef"
    )
    nothing = cast(Any, None)
    dependencies = Dependencies(nothing, nothing, blobs, nothing, config)

    async def authenticate(token: str) -> Principal:
        return ProjectKey(project_id=token, project_slug=token, key_id="key", scopes=frozenset({"models"}))

    async def send(request: Request[Dependencies]) -> web.StreamResponse:
        return await send_object(request, FILE)

    route = Route("GET", "file", send, summary="The file.", access=READ_MODELS)
    app = make_app([route], authenticate=authenticate, dependencies=dependencies, title="test")
    await blobs.put_bytes(FILE.key, b"{}")
    headers = {"Authorization": "Bearer proj"}
    async with serve(app, "127.0.0.1", 0, drain_s=0.2) as port, aiohttp.ClientSession(headers=headers) as session:
        url = f"http://127.0.0.1:{port}/v1/file"
        async with session.get(url, headers={"If-None-Match": f'"{FILE.sha256}"'}) as answer:
            assert answer.status == 304
        assert dependencies.reads._new == set()
        async with session.get(url) as answer:
            assert await answer.read() == b"{}"
    assert dependencies.reads._new == (set() if cold_url is None else {"key"})
