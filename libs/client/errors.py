"""Errors of the client."""

from __future__ import annotations

from libs.contracts import Finding
from libs.errors import Invalid, SlipwayError, Unavailable


class ApiError(SlipwayError):
    """The server refused the request; its message says why and what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_code: str,
        param: str | None = None,
        request_id: str | None = None,
        finding: Finding | None = None,
    ) -> None:
        """`error_code` is the envelope's `code`; `finding` says what is wrong with an archive, where it was read."""
        self.status = status
        self.error_code = error_code
        self.request_id = request_id
        self.finding = finding
        super().__init__(message, param=param)


class Unreachable(Unavailable):
    """The server cannot be reached."""


class LocalProblem(Invalid):
    """The file or directory on disk cannot be uploaded as it is."""
