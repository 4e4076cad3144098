"""What is done about every request, around its route: id, trace, errors to responses, the access log, the metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import http_exceptions, web
from prometheus_client import Counter, Histogram

from libs import telemetry
from libs.errors import Invalid, SlipwayError, TooSlow
from libs.web.access import Principal
from libs.web.body import BodyLimits
from libs.web.errors import (
    ENVELOPE,
    ErrorShape,
    error_response,
    http_error_response,
    internal_error_response,
    status_of,
)
from libs.web.request import awaits_continue

log = logging.getLogger("web")
access = logging.getLogger("access")

CLIENT_GONE = 499  # nginx' number for it, in logs and metrics only
# A client like `requests` sends all of its body before it reads that we refused it; we read that much of it away.
LINGER_S = 60.0
LINGER_IDLE_S = 5.0  # but wait no longer for a piece of it
BUFFER_BYTES = 32 * 1024  # half of what a transport of asyncio takes before it makes its writers wait
ABORT_S = 5.0  # for the last response to be sent, before the connection is closed
UNMATCHED = "unmatched"  # the route label of what is no route: anybody's paths must not become labels

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


@dataclass(slots=True)
class RequestRecord:
    """What the access log and the metrics show of one request."""

    request_id: str
    route: str = UNMATCHED  # template of the path
    errors: ErrorShape = ENVELOPE  # what its errors look like
    quiet: bool = False  # sent every few seconds by a machine; logged at debug level
    principal: Principal | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # further ones of the response, whatever it is
    response: web.StreamResponse | None = None  # as soon as its headers are on their way
    status: int = CLIENT_GONE  # until there is a response
    too_slow: bool = False  # the client did not keep the limits; nothing more is waited for
    started: float = field(default_factory=time.perf_counter)


RECORD = web.RequestKey("slipway_record", RequestRecord)

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

Inner = Callable[[web.Request, RequestRecord], Awaitable[web.StreamResponse]]


def make_middleware(inner: Inner, limits: BodyLimits) -> Middleware:
    """A middleware that has `inner` handle each request; what that raises becomes a response.

    It sends the response, logs and counts the request, and then reads the rest of the request's body. It is a
    middleware and not a handler, since aiohttp's router finds no handler for `OPTIONS *`.
    """

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        record = RequestRecord(_request_id(request))
        request[RECORD] = record
        traceparent = telemetry.child_traceparent(request.headers.get("traceparent"))
        response: web.StreamResponse | None = None
        with telemetry.bind(request_id=record.request_id, traceparent=traceparent):
            try:
                response = await _respond(inner, request, record)
                record.status = response.status
            finally:
                _record(request, record, (response and response.content_length) or 0)
            await _send(request, response, limits)
            if record.too_slow:
                _hang_up(request)
            elif not request.content.is_eof() and not awaits_continue(request):
                await _read_away(request)
            return response

    return handle


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request's id and the record's headers to those of a response, just before they are sent.

    For a client that still holds its body back (`Expect: 100-continue`), add that the connection is closed: nobody
    could know whether the next bytes on it are that body or another request.
    """
    record = request[RECORD]
    record.response = response
    response.headers["x-request-id"] = record.request_id
    response.headers.update(record.headers)
    if awaits_continue(request) and not request.content.is_eof():
        response.force_close()
        response.headers["Connection"] = "close"


async def _send(request: web.Request, response: web.StreamResponse, limits: BodyLimits) -> None:
    """Send a response, unless its handler has streamed it already.

    Raises: ConnectionResetError, if the client does not receive it in time.
    """
    if _is_taken_at_once(request, response):
        await response.prepare(request)
        await response.write_eof()
        return
    try:
        async with asyncio.timeout(limits.longest_s(response.content_length or 0)):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        log.info("the answer to %s %s is not taken; closing the connection", request.method, request[RECORD].route)
        _abort(request.transport)
        raise ConnectionResetError("the client does not take the answer") from None


def _is_taken_at_once(request: web.Request, response: web.StreamResponse) -> bool:
    """Whether the whole response fits into the connection's empty buffer, so that sending cannot wait."""
    transport = request.transport
    size = response.content_length
    return transport is not None and size is not None and size <= BUFFER_BYTES and not transport.get_write_buffer_size()


async def _read_away(request: web.Request) -> None:
    """Receive and forget the rest of a body: many clients read the response only after they have sent everything."""
    try:
        async with asyncio.timeout(LINGER_S):
            while not request.content.is_eof():
                async with asyncio.timeout(LINGER_IDLE_S):
                    await request.content.readany()
    except TimeoutError:
        _hang_up(request)
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError):
        _hang_up(request)  # it is framed wrongly: what follows could be anything


def _hang_up(request: web.Request) -> None:
    """Close the connection; what has not been sent yet has ABORT_S seconds."""
    transport = request.transport
    if transport is not None:
        asyncio.get_running_loop().call_later(ABORT_S, _abort, transport)
        request.protocol.force_close()


def _abort(transport: asyncio.Transport | None) -> None:
    """Close the connection at once: closing it in order waits until the client has taken what is in its buffer."""
    if transport is not None:
        transport.abort()


async def _respond(inner: Inner, request: web.Request, record: RequestRecord) -> web.StreamResponse:
    """What `inner` returns, or the response for the error that it raises.

    Raises: ConnectionResetError (which makes aiohttp close the connection) where no response can be sent any more.
    """
    try:
        return await inner(request, record)
    except SlipwayError as error:
        _log_refusal(error)
        response = error_response(error, record.errors)
        if isinstance(error, TooSlow):
            record.too_slow = True
            response.force_close()
    except web.HTTPError as error:
        response = http_error_response(error, record.errors)
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
        broken = Invalid(f"The body broke off, or is not framed as its headers say: {error}")
        response = error_response(broken, record.errors)
    except Exception as error:  # logged in full here; the response shows nothing of it
        if _client_is_gone(request):
            raise ConnectionResetError("the client is gone") from error
        log.exception("unforeseen error in %s %s", request.method, record.route)
        response = internal_error_response(record.errors)
    if record.response is not None:
        record.status = response.status
        log.warning("answer to %s %s broken off", request.method, record.route)
        if record.too_slow:
            _abort(request.transport)
        raise ConnectionResetError("the answer had begun; breaking off is all that can still tell the client")
    return response


def _log_refusal(error: SlipwayError) -> None:
    if status_of(error) >= 500:
        log.warning("%s: %s", type(error).__name__, error, exc_info=error.__cause__)


def _client_is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _request_id(request: web.Request) -> str:
    """The client's own x-request-id where it is fit for logs and headers, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else telemetry.new_request_id()


def _record(request: web.Request, record: RequestRecord, response_bytes: int) -> None:
    """Log and count a request whose response is made (a short one, of `response_bytes`) or sent (a streamed one)."""
    seconds = time.perf_counter() - record.started
    method = request.method if request.method in _METHODS else "OTHER"
    received = request.content.total_bytes
    sent = request.writer.output_size if record.response is not None else response_bytes
    requests, duration, bytes_in, bytes_out = _meters(record.route, method, record.status)
    requests.inc()
    duration.observe(seconds)
    bytes_in.inc(received)
    bytes_out.inc(sent)
    who = record.principal
    access.log(
        logging.DEBUG if record.quiet else logging.INFO,
        "%s %s %d",
        request.method,
        request.rel_url.raw_path,
        record.status,
        extra={
            "method": request.method,
            "route": record.route,
            "status": record.status,
            "duration_s": round(seconds, 4),
            "bytes_in": received,
            "bytes_out": sent,
            "project_id": who.project_id if who else None,
            "key_id": who.key_id if who else None,
        },
    )


@lru_cache(maxsize=4096)  # routes, methods and statuses are few
def _meters(route: str, method: str, status: int) -> tuple[Counter, Histogram, Counter, Counter]:
    """The metrics of one kind of response; looking them up by their labels costs more than counting."""
    return (
        telemetry.http_requests.labels(route, method, str(status)),
        telemetry.http_seconds.labels(route),
        telemetry.bytes_in.labels(route),
        telemetry.bytes_out.labels(route),
    )
