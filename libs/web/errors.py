"""The table from errors to HTTP statuses, and the envelope that every error is sent in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from aiohttp import web

from libs import errors

JSON = "application/json"


class MethodNotAllowed(errors.Invalid):
    """This path does not know that method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(f"This path does not accept {method}; it accepts {self.allowed}.", retryable=False)


# The first that fits decides. Clients sort by the type; the code is the error class's own.
_STATUS: tuple[tuple[type[errors.SlipwayError], int, str], ...] = (
    (MethodNotAllowed, 405, "invalid_request_error"),
    (errors.TooSlow, 408, "invalid_request_error"),
    (errors.Invalid, 400, "invalid_request_error"),
    (errors.Unauthenticated, 401, "authentication_error"),
    (errors.Forbidden, 403, "permission_error"),
    (errors.NotFound, 404, "not_found_error"),
    (errors.Conflict, 409, "conflict_error"),
    (errors.TooLarge, 413, "invalid_request_error"),
    (errors.UnsupportedMedia, 415, "invalid_request_error"),
    (errors.Rejected, 422, "invalid_request_error"),
    (errors.RateLimited, 429, "rate_limit_error"),
    (errors.Unavailable, 503, "unavailable_error"),
    (errors.SlipwayError, 500, "server_error"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a client is told of an error, before it has a shape."""

    status: int  # of HTTP
    kind: str  # the `type` of the envelope
    message: str
    code: str
    param: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    cause: errors.SlipwayError | None = None  # None for an error of aiohttp's


class ErrorShape(Protocol):
    """How the errors of some routes look, where that is not the envelope."""

    @property
    def schema(self) -> type[msgspec.Struct]:
        """What `body` makes, for the OpenAPI document."""

    def body(self, fault: Fault) -> object:
        """The body of the answer; anything that msgspec encodes."""


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong; every field is always there."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: ErrorBody


class _Envelope:
    """The shape of errors where a route has none of its own."""

    schema = ErrorEnvelope

    def body(self, fault: Fault) -> object:
        """The four fields, and `details` beside them."""
        fields = {"message": fault.message, "type": fault.kind, "param": fault.param, "code": fault.code}
        return {"error": {**fault.details, **fields}}


ENVELOPE: ErrorShape = _Envelope()


def status_of(error: errors.SlipwayError) -> int:
    """The HTTP status that stands for `error`."""
    return _row(error)[1]


def error_response(error: errors.SlipwayError, shape: ErrorShape = ENVELOPE) -> web.Response:
    """The response for `error`, in this shape; its `details` are added to the four fields of the envelope.

    Which dependency is down, its message, and keys of storage are for the log only: the client reads that one is down.
    """
    _, status, kind = _row(error)
    fault = Fault(
        status=status,
        kind=kind,
        message=_message(error),
        code=error.code,
        param=error.param,
        details=error.details,
        cause=error,
    )
    body = msgspec.json.encode(shape.body(fault))
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if not error.retryable:
        headers["x-should-retry"] = "false"  # the openai SDK would repeat a 409 otherwise
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=body, status=status, headers=headers, content_type=JSON)


def http_error_response(error: web.HTTPError, shape: ErrorShape = ENVELOPE) -> web.Response:
    """aiohttp's own error (a route may raise one for a status that the hierarchy has no word for) in this shape."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    code = re.sub(r"[^a-z]+", "_", error.reason.lower())
    fault = Fault(status=error.status, kind=kind, message=f"{error.reason}.", code=code)
    response = web.Response(body=msgspec.json.encode(shape.body(fault)), status=error.status, headers=error.headers)
    response.content_type = JSON
    return response


def internal_error_response(shape: ErrorShape = ENVELOPE) -> web.Response:
    """The response for an unexpected error: it shows nothing of it; the log has it under the request's id."""
    message = "Something went wrong on our side. It is logged under the id in the header x-request-id."
    return error_response(errors.SlipwayError(message), shape)


def _message(error: errors.SlipwayError) -> str:
    """The error's own, except where that names our servers or storage's keys: then its class's default."""
    if isinstance(error, errors.Overloaded):
        return error.message
    if isinstance(error, errors.Unavailable):
        return errors.Unavailable().message
    return errors.ObjectNotFound().message if isinstance(error, errors.ObjectNotFound) else error.message


def _row(error: errors.SlipwayError) -> tuple[type[errors.SlipwayError], int, str]:
    return next(row for row in _STATUS if isinstance(error, row[0]))
