"""Errors of the client, one hierarchy below ClientError.

ClientError
├── ApiError              the server refused the request
│   ├── BadRequestError       400, 413, 415: the request is not valid
│   ├── AuthenticationError   401: no key, or one that is unknown, expired or revoked
│   ├── PermissionDeniedError 403: the key lacks a scope, a role or a feature
│   ├── NotFoundError         404: not in this project
│   ├── ConflictError         409: not in the present state
│   ├── RejectedError         422: the content was read and refused
│   ├── RateLimitError        429: too many requests, or a limit of the project is reached
│   └── ServerError           500 and above
├── ModelRejectedError    the model is registered, and in error
├── UploadFailedError     an upload or import ended without a model
├── Unreachable           no answer
└── LocalProblem          what is on disk, or a setting, is not usable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from libs.contracts import Finding
from libs.errors import SlipwayError

if TYPE_CHECKING:
    from libs.client.responses import Model, Session


class ClientError(SlipwayError):
    """What every error of the client has: `message`, `code` and `param`; `status` and `request_id` of an answer.

    `message` says what was wrong and what to do; `code` is for programs; `param` names the field at fault.
    """

    status: int | None = None
    request_id: str | None = None


class FieldError(msgspec.Struct, frozen=True):
    """One of several fields of a body that are wrong."""

    message: str
    param: str | None = None
    code: str | None = None


class ApiError(ClientError):
    """The server refused the request; its message says why and what to do."""

    status: int

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        request_id: str | None = None,
        finding: Finding | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        """`code` is the envelope's; `finding` says what is wrong with an archive, where it was read.

        `errors`: where several fields of a body are wrong, all of them.
        """
        self.errors = tuple(errors)
        self.status = status
        self.request_id = request_id
        self.finding = finding
        super().__init__(message, code=code, param=param)


class BadRequestError(ApiError):
    """The request is not valid; `param` names the field."""


class AuthenticationError(ApiError):
    """There is no key, or it is unknown, expired or revoked."""


class PermissionDeniedError(ApiError):
    """The key lacks a scope or a role, or the project a feature; `code` says which."""


class NotFoundError(ApiError):
    """The project has nothing of that id or name."""


class ConflictError(ApiError):
    """That is not possible in the present state."""


class RejectedError(ApiError):
    """The content was read and refused; `finding` says where."""


class RateLimitError(ApiError):
    """Too many requests, also after waiting; or, with the code `quota_exceeded`, a limit of the project is reached."""


class ServerError(ApiError):
    """The server failed, or what it depends on; `request_id` finds the failure in its logs."""


class ModelRejectedError(ClientError):
    """The model is registered and in error; `findings` say what to do about which file."""

    code = "model_rejected"

    def __init__(self, model: Model, findings: Sequence[Finding] = ()) -> None:
        """`findings`: those that are errors, if the model was checked; `model.status_reason` else."""
        self.model = model
        self.findings = tuple(finding for finding in findings if finding.severity == "error")
        said = [f"{finding.file}: {finding.message}" if finding.file else finding.message for finding in self.findings]
        reason = said[0] if said else model.status_reason or "its report says why"
        more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        super().__init__(f"Model {model.name} {model.version or ''} is in error: {reason}{more}".replace("  ", " "))


class UploadFailedError(ClientError):
    """An upload or import ended without a model: it failed, was aborted, or expired."""

    code = "upload_failed"

    def __init__(self, session: Session) -> None:
        """`code` is that of the session's error, where it has one."""
        self.session = session
        why = session.error.message if session.error else f"The upload of {session.model_name} is {session.status}."
        super().__init__(why, code=session.error.code if session.error else None)


class Unreachable(ClientError):
    """The server cannot be reached."""

    code = "unavailable"


class LocalProblem(ClientError):
    """The file or directory on disk cannot be used as it is."""

    code = "invalid_request"


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: BadRequestError,
    415: BadRequestError,
    422: RejectedError,
    429: RateLimitError,
}


def class_of(status: int) -> type[ApiError]:
    """The error that an answer of this status is raised as."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
