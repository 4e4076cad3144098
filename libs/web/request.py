"""What a route's handler is given: the request, decoded and authorized."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from libs.errors import Invalid
from libs.web.access import Principal
from libs.web.body import DEFAULT_LIMITS, Body, BodyLimits

D = TypeVar("D")

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)
_CONTINUED = web.RequestKey("slipway_continued", bool)


@dataclass(slots=True, kw_only=True)
class Request(Generic[D]):
    """One request, decoded and authorized; `D` is the type of the dependencies that `make_app` was given."""

    http: web.Request  # as aiohttp has it: headers, transport
    principal: Principal  # of a public route: ANONYMOUS, with an empty project_id
    params: dict[str, str]  # the parameters of the path, percent-decoded once
    query: Any  # the route's `query` Struct, else None
    body: Any  # the route's `body` Struct, else None
    dependencies: D
    limits: BodyLimits = DEFAULT_LIMITS

    async def content(self) -> Body:
        """The body, for a route with `stream=True`.

        Reading it raises TooSlow if the client does not keep `limits`. To a client that sent `Expect: 100-continue`,
        `100 Continue` is sent only now: what the handler checks before costs the client no upload.
        """
        await continue_if_expected(self.http)
        return Body(self.http.content, self.limits)

    def prefer_wait_s(self) -> float | None:
        """N of the header `Prefer: wait=N` (RFC 7240), in seconds; None without such a header."""
        match = _WAIT.search(", ".join(self.http.headers.getall("Prefer", [])))
        return float(match.group(1)) if match else None

    def origin(self) -> str:
        """scheme://host[:port] of the address that the client used.

        Behind a proxy it is what X-Forwarded-Proto and X-Forwarded-Host say.
        Raises: Invalid if there is no usable Host.
        """
        headers = self.http.headers
        proto = headers.get("X-Forwarded-Proto", self.http.scheme).split(",")[0].strip().lower()
        host = headers.get("X-Forwarded-Host", self.http.host).split(",")[0].strip()
        if proto not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+", host):
            raise Invalid("The Host or X-Forwarded-* headers of the request do not make a URL.")
        return f"{proto}://{host}"


async def continue_if_expected(http: web.Request) -> None:
    """Send `100 Continue` to a client that waits for it, once."""
    if http.headers.get("Expect", "").lower() != "100-continue" or _CONTINUED in http:
        return
    http[_CONTINUED] = True
    if http.version >= (1, 1):
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # else aiohttp counts it as part of the response's body


def awaits_continue(http: web.Request) -> bool:
    """Whether the client still holds its body back until it gets `100 Continue`."""
    return http.headers.get("Expect", "").lower() == "100-continue" and _CONTINUED not in http
