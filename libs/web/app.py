"""The application: finds the route of a request, authenticates, authorizes, decodes, calls the handler, encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from libs.errors import NotFound, TooLarge, Unauthenticated, UnsupportedMedia
from libs.web.access import ANONYMOUS, PUBLIC
from libs.web.body import DEFAULT_LIMITS, Body, BodyLimits
from libs.web.decoding import decode_body, decode_query
from libs.web.errors import JSON, MethodNotAllowed
from libs.web.middleware import RequestRecord, edge, set_headers
from libs.web.openapi import openapi_document
from libs.web.paths import PROJECT, Match, PathTable, WrongMethod, templates
from libs.web.request import Request, continue_if_expected
from libs.web.response import encode
from libs.web.route import Authenticate, Route

D = TypeVar("D")

MAX_JSON_BYTES = 16 * 1024 * 1024

_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


def make_app(
    routes: Sequence[Route[D]],
    *,
    authenticate: Authenticate,
    dependencies: D,
    title: str,
    limits: BodyLimits = DEFAULT_LIMITS,
) -> web.Application:
    """An application that serves `routes`, and their description at `/openapi.json`.

    `authenticate` returns the principal of a bearer token, or raises Unauthenticated. Every handler is given
    `dependencies`. `limits` hold for the bodies of requests and of responses.
    Raises: ValueError if two routes claim the same method and path.
    """
    document = msgspec.json.encode(openapi_document(routes, title))

    async def openapi(_: Request[D]) -> web.Response:
        return web.Response(body=document, content_type=JSON)

    table = PathTable(
        [*routes, Route("GET", "/openapi.json", openapi, summary="This description.", access=PUBLIC, base="root")]
    )

    async def dispatch(request: web.Request, record: RequestRecord) -> web.StreamResponse:
        match = _find(table, request)
        route = match.route
        record.route = templates(route)[0]
        record.quiet = record.route in _QUIET
        if route.access is not PUBLIC:
            record.principal = await authenticate(_bearer_token(request))
            route.access.authorize(record.principal, match.params.get(PROJECT))
        decoded = Request(
            http=request,
            principal=record.principal or ANONYMOUS,
            params=match.params,
            query=decode_query(route.query, request.rel_url.raw_query_string) if route.query else None,
            body=await _json_body(request, route.body, limits) if route.body else None,
            dependencies=dependencies,
            limits=limits,
        )
        return encode(await route.handler(decoded), route.status)

    app = web.Application(middlewares=[edge(dispatch, limits)])
    app.on_response_prepare.append(set_headers)
    app.router.add_route("*", "/{anything:.*}", _never, expect_handler=_later)
    return app


def _find(table: PathTable, request: web.Request) -> Match:
    found = table.find(request.method, request.rel_url.raw_path)
    if found is None:
        raise NotFound("There is no such path. /openapi.json lists all there are.", retryable=False)
    if isinstance(found, WrongMethod):
        raise MethodNotAllowed(request.method, found.allowed)
    return found


def _bearer_token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


async def _json_body(request: web.Request, kind: type[msgspec.Struct], limits: BodyLimits) -> msgspec.Struct:
    """The whole body as `kind`. Raises: TooLarge; UnsupportedMedia; Invalid; TooSlow."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"Send the JSON as it is, without Content-Encoding: {encoding}.")
    raw = bytearray()
    if (request.content_length or 0) <= MAX_JSON_BYTES:
        await continue_if_expected(request)
        async for chunk in Body(request.content, limits):
            raw += chunk
            if len(raw) > MAX_JSON_BYTES:
                break
    if len(raw) > MAX_JSON_BYTES or (request.content_length or 0) > MAX_JSON_BYTES:
        raise TooLarge(f"A JSON body may have {MAX_JSON_BYTES} bytes; this one has more.", retryable=False)
    return decode_body(kind, bytes(raw), request.headers.get("Content-Type", ""))


async def _never(_: web.Request) -> web.StreamResponse:
    """aiohttp wants a handler for a route; the middleware handles everything and never calls it."""
    raise NotFound


async def _later(_: web.Request) -> None:
    """Keeps aiohttp from sending `100 Continue` at once: Request.content() and _json_body() send it later."""
