"""What a route says of itself, and what its handler is given: the vocabulary of the route table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import msgspec
from aiohttp import web

from libs.errors import Invalid
from libs.web.body import DEFAULT_LIMITS, Body, BodyLimits

Scope = Literal["models", "files", "batches", "inference"]
Role = Literal["member", "admin"]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)
_CONTINUED = web.RequestKey("slipway_continued", bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: a key of a project, or the operator."""

    project_id: str
    project_slug: str
    key_id: str
    scopes: frozenset[str] = frozenset()
    role: Role = "member"
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with more to say than its body: `body` is anything msgspec encodes, or None for no body at all."""

    body: object = None
    status: int | None = None  # None: the route's
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, decoded and authorized."""

    request: web.Request
    principal: Principal  # of a public route: nobody's, with an empty project_id
    params: dict[str, str]  # parts of the path, percent-decoded once
    query: Any  # the route's `query` Struct, else None
    body: Any  # the route's `body` Struct, else None
    state: Any  # what make_app was given
    request_id: str
    limits: BodyLimits = DEFAULT_LIMITS

    async def content(self) -> Body:
        """The body, for a route with `stream=True`; it ends with TooSlow where the client does not keep `limits`.

        A client that sent `Expect: 100-continue` is told to go on only now, so that whatever the handler checks
        before costs it no upload.
        """
        await continue_if_expected(self.request)
        return Body(self.request.content, self.limits)

    def prefer_wait_s(self) -> float | None:
        """N of `Prefer: wait=N` (RFC 7240), in seconds; None if the client does not say."""
        match = _WAIT.search(", ".join(self.request.headers.getall("Prefer", [])))
        return float(match.group(1)) if match else None

    def origin(self) -> str:
        """scheme://host[:port] as the client knows us, which behind a proxy is what X-Forwarded-Proto and -Host say.

        Raises: Invalid if there is no usable Host.
        """
        headers = self.request.headers
        proto = headers.get("X-Forwarded-Proto", self.request.scheme).split(",")[0].strip().lower()
        host = headers.get("X-Forwarded-Host", self.request.host).split(",")[0].strip()
        if proto not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+", host):
            raise Invalid("The Host or X-Forwarded-* headers of the request do not make a URL.")
        return f"{proto}://{host}"


Handler = Callable[[Call], Awaitable[msgspec.Struct | Answer | web.StreamResponse]]
Authenticate = Callable[[str], Awaitable[Principal]]  # a bearer token -> who that is; raises Unauthenticated


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table: routing, authorization, decoding and documentation come from it alone.

    `path` is relative to the base: `{name}` stands for one segment, a last `{name:path}` for all the rest.
    base="project" serves it at `/{project_id}/v1/PATH` and at `/v1/PATH`, base="root" at `/PATH`.
    """

    method: Method
    path: str
    handler: Handler
    _: KW_ONLY
    summary: str
    scope: Scope | None = None  # None: any key of the project will do
    role: Role | None = None  # "admin": a member's key will not do
    operator: bool = False  # for the operator's key alone
    public: bool = False  # needs no key
    body: type[msgspec.Struct] | None = None  # JSON
    query: type[msgspec.Struct] | None = None
    returns: type[msgspec.Struct] | None = None
    also: Mapping[int, type[msgspec.Struct]] = field(default_factory=dict)  # what else it may answer, by status
    status: int = 200
    stream: bool = False  # the handler reads the body itself, by Call.content()
    base: Literal["project", "root"] = "project"


async def continue_if_expected(request: web.Request) -> None:
    """Send `100 Continue` to a client that waits for it, once."""
    if request.headers.get("Expect", "").lower() != "100-continue" or _CONTINUED in request:
        return
    request[_CONTINUED] = True
    if request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # else aiohttp counts it to the answer's body


def awaits_continue(request: web.Request) -> bool:
    """Whether the client still holds its body back, waiting for our word."""
    return request.headers.get("Expect", "").lower() == "100-continue" and _CONTINUED not in request
