"""What a route's handler returns, and how it is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from libs.web.errors import JSON


@dataclass(frozen=True, slots=True)
class Response:
    """A response with a status or headers of its own.

    `body` is anything that msgspec encodes, or None for an empty body.
    """

    body: object = None
    status: int | None = None  # None: the route's
    headers: Mapping[str, str] = field(default_factory=dict)


def encode(result: msgspec.Struct | Response | web.StreamResponse, status: int) -> web.StreamResponse:
    """What a handler returned, as aiohttp sends it; `status` is for results that have none."""
    if isinstance(result, web.StreamResponse):
        return result
    response = result if isinstance(result, Response) else Response(result)
    headers = dict(response.headers)
    if response.body is None:
        return web.Response(status=response.status or status, headers=headers)
    headers.setdefault("Content-Type", JSON)
    return web.Response(body=msgspec.json.encode(response.body), status=response.status or status, headers=headers)
