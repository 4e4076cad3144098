"""Errors in Google's shape, as clients of Fireworks read them (https://google.aip.dev/193)."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from libs.errors import Invalid, Unavailable
from libs.web import ErrorShape, Fault


class FailedPrecondition(Invalid):
    """Not yet: something else has to happen first."""

    code = "failed_precondition"


class GoogleStatus(Struct, frozen=True, kw_only=True):
    """What went wrong: the HTTP status, Google's name for it, and what to do."""

    code: int
    status: str
    message: str
    details: list[dict[str, Any]] | UnsetType = UNSET


class GoogleError(Struct, frozen=True):
    """The body of every answer that is an error."""

    error: GoogleStatus


# google.rpc.Code by HTTP status; of statuses that it does not know, what they are a kind of.
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "INVALID_ARGUMENT",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_INTERNAL = "INTERNAL"
_REASON = "type.googleapis.com/google.rpc.ErrorInfo"


class _Google:
    """Google's shape."""

    schema = GoogleError

    def body(self, fault: Fault) -> GoogleError:
        """`details` has the code of this API, the field at fault, and whatever else there is to say."""
        status = _STATUS.get(fault.status, _INTERNAL)
        if isinstance(fault.cause, FailedPrecondition):
            status = "FAILED_PRECONDITION"
        about: dict[str, Any] = {"@type": _REASON, "reason": fault.code, **fault.details}
        if fault.param is not None:
            about["field"] = fault.param
        said = isinstance(fault.cause, Unavailable) or status == _INTERNAL
        return GoogleError(
            GoogleStatus(code=fault.status, status=status, message=fault.message, details=UNSET if said else [about])
        )


GOOGLE: Final[ErrorShape] = _Google()
