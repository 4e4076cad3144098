"""A small application on a real socket, for tests of promises that only a socket can break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from libs.errors import NotFound, Unauthenticated
from libs.web import BodyLimits, Principal, Route, SecurityScheme, make_app, serve
from libs.web.body import DEFAULT_LIMITS

MEMBER = Principal(project_id="proj_MINE", project_slug="mine", key_id="key_1")
TOKEN = "a-token"


class MembersOnly:
    """An access rule as a service would write it: the caller's own project, and no other."""

    scheme = SecurityScheme("key", "A key.")
    scopes: Sequence[str] = ("models",)

    def authorize(self, principal: Principal, project_id: str | None) -> None:
        if project_id not in (None, principal.project_id):
            raise NotFound


MEMBERS = MembersOnly()

Serving = Callable[..., Awaitable[aiohttp.ClientSession]]


async def authenticate(token: str) -> Principal:
    if token != TOKEN:
        raise Unauthenticated
    return MEMBER


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """`await serving(route, …)`: a client of an application with these routes, holding a key of proj_MINE."""
    async with AsyncExitStack() as opened:

        async def start(
            *routes: Route[Any], dependencies: Any = None, limits: BodyLimits = DEFAULT_LIMITS
        ) -> aiohttp.ClientSession:
            app = make_app(routes, authenticate=authenticate, dependencies=dependencies, title="Test", limits=limits)
            port = await opened.enter_async_context(serve(app, "127.0.0.1", 0, drain_s=0.5))
            client = aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"})
            return await opened.enter_async_context(client)

        yield start


def port_of(client: aiohttp.ClientSession) -> int:
    assert client._base_url is not None
    assert client._base_url.port is not None
    return client._base_url.port
