"""One hierarchy of errors for every edge; it knows neither HTTP nor NATS.

The branches (`Invalid`, `NotFound`, …) are what an edge maps: `libs.web` to a status, `libs.bus` to nak or
term. The leaves carry a `code` that clients may rely on, and a leaf's docstring is its default message.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


class SlipwayError(Exception):
    """Something went wrong that the caller should know about."""

    code: str = "internal_error"  # a leaf's own; clients may rely on it

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        retryable: bool = True,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """`param` names the field at fault; `retryable=False` says that repeating the call cannot help.

        `code` replaces the class's own, where an earlier reason is repeated.
        `details` are further fields for the client, beside the message (a finding, what is missing).
        """
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.code = code or type(self).code
        self.param = param
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.details = dict(details or {})
        super().__init__(self.message)


class Invalid(SlipwayError):
    """The request is not valid."""

    code = "invalid_request"


class Unauthenticated(SlipwayError):
    """Invalid API key. Send 'Authorization: Bearer <key>' with a key that exists, not expired, not revoked."""

    code = "authentication_error"


class Forbidden(SlipwayError):
    """This key may not do that."""

    code = "permission_denied"


class NotFound(SlipwayError):
    """There is nothing by that name here."""

    code = "not_found"


class Conflict(SlipwayError):
    """The request contradicts what is already there."""

    code = "conflict"


class TooLarge(SlipwayError):
    """The body is larger than this route accepts."""

    code = "request_too_large"


class UnsupportedMedia(SlipwayError):
    """The body's content type is not accepted here."""

    code = "unsupported_media_type"


class Rejected(SlipwayError):
    """The content was read and refused."""

    code = "content_rejected"


class RateLimited(SlipwayError):
    """Too many requests; wait as long as Retry-After says."""

    code = "rate_limit_exceeded"


class Unavailable(SlipwayError):
    """A service that Slipway depends on is not answering; try again shortly."""

    code = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 2, **rest: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **rest)


class Overloaded(Unavailable):
    """This server does as much of this at once as it can, or as it does for one project; try again shortly."""

    code = "overloaded"


# Leaves: authorization


class ScopeRequired(Forbidden):
    """This key lacks the scope that this route needs."""

    code = "scope_required"


class FeatureNotEnabled(Forbidden):
    """The project does not have this feature; the operator of this installation can enable it."""

    code = "feature_not_enabled"


# Leaves: limits


class QuotaExceeded(RateLimited):
    """That is more than this project may use."""

    code = "quota_exceeded"


# Leaves: requests


class IntegerAboveMaximum(Invalid):
    """The integer is above its maximum value."""

    code = "integer_above_max_value"


class IntegerBelowMinimum(Invalid):
    """The integer is below its minimum value."""

    code = "integer_below_min_value"


class TooSlow(Invalid):
    """The other side of this body paused for too long, or went too slowly; the connection is closed. Try again."""

    code = "body_too_slow"


# Leaves: uploads


class UploadNotFound(NotFound):
    """No such upload in this project. List the open ones with GET uploads."""


class ChecksumMismatch(Invalid):
    """The bytes received do not have the checksum that was sent; send them again."""

    code = "checksum_mismatch"


class PartSizeMismatch(Invalid):
    """The part does not have the size that its number calls for."""

    code = "part_size_mismatch"


class PartConflict(Conflict):
    """Other bytes are already stored under this part number. Abort the upload and start again if they were wrong."""

    code = "part_conflict"


class WrongState(Conflict):
    """That is not possible in the present state."""


class PartsMissing(Conflict):
    """Not everything has been sent yet; send what is missing, then complete the upload again."""

    code = "parts_missing"


class FilesMissing(Rejected):
    """The model lacks files that it cannot be served without."""

    code = "required_files_missing"


class ProcessingFailed(Rejected):
    """The upload could not be processed, for a reason that is not its client's."""

    code = "processing_failed"


class ImportFailed(Rejected):
    """The source's files could not be copied."""

    code = "import_failed"


class ArchiveRejected(Rejected):
    """The archive was refused."""

    code = "archive_rejected"


# Leaves: models


class ModelNotFound(NotFound):
    """The specified model does not exist or you do not have access to it."""

    code = "model_not_found"


class InvalidModelStatus(Invalid):
    """That is not possible in the model's present status."""

    code = "invalid_model_status"


class FileMissing(NotFound):
    """The file is no longer in storage; upload the same file again and its model is whole again."""

    code = "file_missing"


# Leaves: storage


class ObjectNotFound(NotFound):
    """The object store has no object under this key."""
