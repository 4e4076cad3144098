"""The application: finds the route of a request, authenticates, authorizes, decodes, calls the handler, encodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from aiohttp import web

from libs.errors import NotFound, TooLarge, Unauthenticated, UnsupportedMedia
from libs.web.access import ANONYMOUS, PUBLIC, Admission, Principal
from libs.web.body import DEFAULT_LIMITS, Body, BodyLimits
from libs.web.decoding import decode_body, decode_query
from libs.web.errors import JSON, MethodNotAllowed
from libs.web.middleware import RequestRecord, make_middleware, set_headers
from libs.web.openapi import openapi_document
from libs.web.paths import PROJECT, Match, PathTable, WrongMethod, templates
from libs.web.request import Request, continue_if_expected
from libs.web.response import encode
from libs.web.route import Admit, Authenticate, Route

D = TypeVar("D")

MAX_JSON_BYTES = 16 * 1024 * 1024

_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_ADMITTED = Admission()


async def _admit_all(_: Principal) -> Admission:
    return _ADMITTED


def make_app(
    routes: Sequence[Route[D]],
    *,
    authenticate: Authenticate,
    dependencies: D,
    title: str,
    limits: BodyLimits = DEFAULT_LIMITS,
    admit: Admit = _admit_all,
) -> web.Application:
    """An application that serves `routes`, and their description at `/openapi.json`.

    `authenticate` returns the principal of a bearer token, or raises Unauthenticated. Every handler is given
    `dependencies`. `limits` hold for the bodies of requests and of responses. `admit` is asked about every request with
    a token before anything else is done about it; its headers are added to the response, whatever that is.
    Raises: ValueError if two routes claim the same method and path.
    """
    document = msgspec.json.encode(openapi_document(routes, title))

    async def openapi(_: Request[D]) -> web.Response:
        return web.Response(body=document, content_type=JSON)

    description = Route("GET", "/openapi.json", openapi, summary="This description.", access=PUBLIC, base="root")
    dispatcher = _Dispatcher(PathTable([*routes, description]), authenticate, admit, dependencies, limits)
    app = web.Application(middlewares=[make_middleware(dispatcher.dispatch, limits)])
    app.on_response_prepare.append(set_headers)
    app.router.add_route("*", "/{anything:.*}", _never, expect_handler=_later)
    return app


@dataclass(frozen=True, slots=True)
class _Dispatcher(Generic[D]):
    """From a request of aiohttp to the handler of its route, and back."""

    table: PathTable
    authenticate: Authenticate
    admit: Admit
    dependencies: D
    limits: BodyLimits

    async def dispatch(self, http: web.Request, record: RequestRecord) -> web.StreamResponse:
        """Find the route, authenticate, authorize, decode, call the handler, encode what it returns.

        Raises: whatever the handler raises; the errors of `libs.errors` for a request that has no such route, may not
        call it, or does not fit its types.
        """
        record.errors = self.table.errors_at(http.rel_url.raw_path)
        match = _find(self.table, http)
        route = match.route
        record.route = templates(route)[0]
        record.quiet = record.route in _QUIET
        if route.access is not PUBLIC:
            record.principal = await self.authenticate(_bearer_token(http))
            admission = await self.admit(record.principal)
            record.headers = admission.headers
            if admission.refusal is not None:
                raise admission.refusal
            route.access.authorize(record.principal, match.params.get(PROJECT))
        request = Request(
            http=http,
            principal=record.principal or ANONYMOUS,
            params=match.params,
            query=decode_query(route.query, http.rel_url.raw_query_string) if route.query else None,
            body=await _json_body(http, route.body, self.limits) if route.body else None,
            dependencies=self.dependencies,
            limits=self.limits,
        )
        return encode(await route.handler(request), route.status)


def _find(table: PathTable, http: web.Request) -> Match:
    found = table.find(http.method, http.rel_url.raw_path)
    if found is None:
        raise NotFound("There is no such path. /openapi.json lists all there are.", retryable=False)
    if isinstance(found, WrongMethod):
        raise MethodNotAllowed(http.method, found.allowed)
    return found


def _bearer_token(http: web.Request) -> str:
    scheme, _, token = http.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


async def _json_body(http: web.Request, kind: type[msgspec.Struct], limits: BodyLimits) -> msgspec.Struct:
    """The whole body as `kind`. Raises: TooLarge; UnsupportedMedia; Invalid; TooSlow."""
    encoding = http.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"Send the JSON as it is, without Content-Encoding: {encoding}.")
    raw = bytearray()
    if (http.content_length or 0) <= MAX_JSON_BYTES:
        await continue_if_expected(http)
        async for chunk in Body(http.content, limits):
            raw += chunk
            if len(raw) > MAX_JSON_BYTES:
                break
    if len(raw) > MAX_JSON_BYTES or (http.content_length or 0) > MAX_JSON_BYTES:
        raise TooLarge(f"A JSON body may have {MAX_JSON_BYTES} bytes; this one has more.", retryable=False)
    return decode_body(kind, bytes(raw), http.headers.get("Content-Type", ""))


async def _never(_: web.Request) -> web.StreamResponse:
    """aiohttp wants a handler for a route; the middleware handles everything and never calls it."""
    raise NotFound


async def _later(_: web.Request) -> None:
    """Keeps aiohttp from sending `100 Continue` at once: Request.content() and _json_body() send it later."""
