"""The routes for orchestrators and Prometheus: /livez, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from libs import telemetry
from libs.web.access import PUBLIC
from libs.web.request import Request
from libs.web.response import Response
from libs.web.route import Route


class Liveness(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether work should be sent here, and the state of each dependency by name."""

    ready: bool
    checks: dict[str, bool]


def health_routes(readiness: Callable[[], Awaitable[Readiness]]) -> list[Route[Any]]:
    """/livez, /readyz and /metrics, which every service has; `readiness` is what /readyz shows."""

    async def livez(_: Request[Any]) -> Liveness:
        return Liveness("ok")

    async def readyz(_: Request[Any]) -> Response:
        state = await readiness()
        return Response(state, 200 if state.ready else 503)

    async def metrics(_: Request[Any]) -> web.Response:
        return web.Response(body=telemetry.metrics_text(), headers={"Content-Type": telemetry.METRICS_CONTENT_TYPE})

    return [
        Route("GET", "/livez", livez, summary="Is the process alive?", returns=Liveness, access=PUBLIC, base="root"),
        Route("GET", "/readyz", readyz, summary="Can it work?", returns=Readiness, access=PUBLIC, base="root"),
        Route("GET", "/metrics", metrics, summary="Metrics in Prometheus' format.", access=PUBLIC, base="root"),
    ]
