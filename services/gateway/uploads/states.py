"""The states of an upload, and every way from one to another, as a table.

The statements in `store` take their guards from here; the CHECK constraint and the partial indexes of the migrations
are tested against it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal, Protocol, get_args

from libs.errors import Conflict, Rejected, SlipwayError, WrongState
from libs.states import Transition

UploadKind = Literal["archive", "directory", "import", "signed"]
UploadStatus = Literal["open", "processing", "completed", "failed", "aborted", "expired"]

STATES: Final[tuple[UploadStatus, ...]] = get_args(UploadStatus)
OPEN: Final = "open"  # bytes can be sent; every upload begins here
PROCESSING: Final = "processing"  # its client has completed it; the extractor is not done with it
COMPLETED: Final = "completed"  # registered as a model
FAILED: Final = "failed"  # it cannot become a model
ABORTED: Final = "aborted"  # its client gave it up
EXPIRED: Final = "expired"  # nothing arrived for too long


UploadTransition = Transition[UploadStatus]

BEGIN: Final = UploadTransition(name="begin", sources=(), target=OPEN, by=("client",), because="its client opened it")
COMPLETE: Final = UploadTransition(
    name="complete", sources=(OPEN,), target=PROCESSING, by=("client",), because="everything has been sent"
)
REGISTER: Final = UploadTransition(
    name="register",
    sources=(PROCESSING,),
    target=COMPLETED,
    by=("client", "extractor"),
    because="everything is unpacked, and the registry has the files",
)
REOPEN: Final = UploadTransition(
    name="reopen",
    sources=(PROCESSING,),
    target=OPEN,
    by=("client", "extractor"),
    because="a file of a directory is wrong, or was lost, and has to be sent again",
)
FAIL: Final = UploadTransition(
    name="fail",
    sources=(OPEN, PROCESSING),
    target=FAILED,
    by=("client", "extractor", "sweeper"),
    because="the content was refused, or could not be processed for days",
)
ABORT: Final = UploadTransition(
    name="abort", sources=(OPEN, PROCESSING), target=ABORTED, by=("client",), because="the client gave it up"
)
EXPIRE: Final = UploadTransition(
    name="expire", sources=(OPEN,), target=EXPIRED, by=("sweeper",), because="nothing arrived for too long"
)

TRANSITIONS: Final = (BEGIN, COMPLETE, REGISTER, REOPEN, FAIL, ABORT, EXPIRE)

LIVE: Final = tuple(state for state in STATES if any(state in each.sources for each in TRANSITIONS))
ENDED: Final = tuple(state for state in STATES if state not in LIVE)

# The answer to a client that sends to an upload, or completes or aborts it, in a state that does not allow it.
_CLOSED: Final[dict[UploadStatus, str]] = {
    COMPLETED: "This upload is complete; start a new one to upload another version.",
    PROCESSING: "This upload was completed by its client and is being processed; nothing more can be sent.",
    ABORTED: "This upload was aborted; start a new one.",
    EXPIRED: "This upload expired before it was completed, and what it had stored was removed; start a new one.",
    FAILED: "This upload failed.",
}


_TO_SEND: Final = {"archive": "parts to /parts.", "import": "nothing, since its files are read from their source."}


class HasStatus(Protocol):
    """What is asked of a row of `upload` here."""

    @property
    def kind(self) -> str:
        """archive, directory, import or signed."""

    @property
    def status(self) -> UploadStatus:
        """The state."""

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it failed: {message, code, finding}."""


ARCHIVES: Final = ("archive",)  # the kinds of uploads to which parts can be sent
DIRECTORIES: Final = ("directory", "signed")  # the kinds of uploads to which files can be sent


def require_open(upload: HasStatus, *, kind: Collection[str] | None = None) -> None:
    """Raises: Conflict for an upload of none of these kinds; what `why_closed` returns, unless bytes can be sent."""
    if kind is not None and upload.kind not in kind:
        raise Conflict(
            f"This upload is of the kind {upload.kind!r}; send "
            + _TO_SEND.get(upload.kind, "files to /files/{relative_path}."),
            retryable=False,
        )
    if upload.status != OPEN:
        raise why_closed(upload)


def why_closed(upload: HasStatus) -> SlipwayError:
    """The error for a request that the upload's state does not allow: the reason of its failure, or its state."""
    if upload.status == FAILED and upload.error:
        return Rejected(
            upload.error["message"],
            code=upload.error["code"],
            details={"finding": upload.error.get("finding")},
            retryable=False,
        )
    return WrongState(_CLOSED[upload.status], retryable=False)
