"""One line of the route table, and the types of its functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, Literal, TypeVar

import msgspec
from aiohttp import web

from libs.web.access import Access, Admission, Principal
from libs.web.errors import ENVELOPE, ErrorShape
from libs.web.request import Request
from libs.web.response import Response

D = TypeVar("D")

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
Handler = Callable[[Request[D]], Awaitable[msgspec.Struct | Response | web.StreamResponse]]
Authenticate = Callable[[str], Awaitable[Principal]]  # a bearer token -> who that is; raises Unauthenticated
Admit = Callable[[Principal], Awaitable[Admission]]  # asked about every request of a principal, for any path


@dataclass(frozen=True, slots=True)
class Route(Generic[D]):
    """One line of the route table: routing, authorization, decoding and documentation come from it alone.

    `path` is relative to the base: `{name}` stands for one segment, `{name}:verb` for one that ends so, a last
    `{name:path}` for all the rest.
    base="project" serves it at `/{project_id}/v1/PATH` and at `/v1/PATH`, base="root" at `/PATH`.
    `errors` is the shape of every error below the first segment of `path`, also where no route is.
    """

    method: Method
    path: str
    handler: Handler[D]
    _: KW_ONLY
    summary: str
    access: Access | None  # what it requires of its caller; PUBLIC: no token
    body: type[msgspec.Struct] | None = None  # JSON
    query: type[msgspec.Struct] | None = None
    returns: type[msgspec.Struct] | None = None
    also: Mapping[int, type[msgspec.Struct]] = field(default_factory=dict)  # further responses, by status
    status: int = 200
    stream: bool = False  # the handler reads the body itself, by Request.content()
    base: Literal["project", "root"] = "project"
    errors: ErrorShape = ENVELOPE
