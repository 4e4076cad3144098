"""Bodies and responses of the upload routes, as the documents name their fields. Sizes are in bytes.

Names and docstrings of these classes are part of the public API's document, where an upload is called a session, and
a part a chunk.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from libs.contracts import ArchiveFormat
from libs.contracts.limits import MAX_PARTS
from services.gateway.patterns import NAME, SHA256, VERSION
from services.gateway.uploads.states import UploadKind, UploadStatus

ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=NAME,
        description="a name of up to 200 printable characters, without blanks at its ends",
    ),
]
Version = Annotated[
    str, Meta(pattern=VERSION, description="a version of up to 64 letters, digits, '.', '+' and '-', such as 1.0.0")
]
Sha256 = Annotated[str, Meta(pattern=SHA256, description="a SHA-256 as 64 hexadecimal digits")]
Size = Annotated[int, Meta(ge=0, le=2**62)]
Range = tuple[int, int]  # first and last part number, inclusive


class CreateArchive(Struct, frozen=True, kw_only=True):
    """POST uploads/archive."""

    model_name: ModelName
    archive_size: Annotated[int, Meta(ge=1, le=2**62)]
    archive_format: ArchiveFormat
    version: Version | None = None
    sha256: Sha256 | None = None  # of the archive; verified when it is unpacked


class ArchiveCreated(Struct, frozen=True, kw_only=True):
    """Where to send the parts, and how many of what size."""

    session_id: str
    upload_url: str
    chunk_size: int
    total_chunks: int
    expires_at: str
    model_id: str
    model_name: str
    version: str


class ManifestFile(Struct, frozen=True, kw_only=True):
    """One file that will be sent."""

    relative_path: str
    size: Size
    sha256: Sha256 | None = None


class CreateDirectory(Struct, frozen=True, kw_only=True):
    """POST uploads/directory."""

    model_name: ModelName
    files: Annotated[list[ManifestFile], Meta(min_length=1)]
    version: Version | None = None


class FileSlot(Struct, frozen=True, kw_only=True):
    """Where to send one file; nothing need be sent where `present`.

    `known_size`: the project stores some object of this size, so that hashing the file first can save sending it.
    """

    relative_path: str
    upload_path: str
    size: int
    present: bool
    known_size: bool


class DirectoryCreated(Struct, frozen=True, kw_only=True):
    """Where to send the files."""

    session_id: str
    upload_url: str
    files: list[FileSlot]
    expires_at: str
    model_id: str
    model_name: str
    version: str


class PartQuery(Struct, frozen=True, kw_only=True):
    """Which part of an archive: 0-based."""

    part_number: Annotated[int, Meta(ge=0, le=MAX_PARTS - 1)]


class PartStored(Struct, frozen=True, kw_only=True):
    """The part counts."""

    session_id: str
    part_number: int
    size: int
    checksum: str  # sha256, hex
    uploaded_chunks: int
    total_chunks: int
    progress: float  # percent


class FileQuery(Struct, frozen=True, kw_only=True):
    """Neither for a file in one request, both for one chunk of a file."""

    part_number: Annotated[int, Meta(ge=0, le=MAX_PARTS - 1)] | None = None
    part_count: Annotated[int, Meta(ge=1, le=MAX_PARTS)] | None = None


class SignedQuery(Struct, frozen=True, kw_only=True):
    """By whom a URL was signed, and until when (Unix time in seconds)."""

    expires: Annotated[int, Meta(ge=0, le=2**40)]
    signature: Annotated[str, Meta(max_length=128)]


class FileReceived(Struct, frozen=True, kw_only=True):
    """The file, or the chunk of it, counts."""

    relative_path: str
    size: int
    checksum: str | None  # sha256, hex: of the file or of the chunk; None while the file is read for it
    uploaded_file_count: int
    expected_file_count: int
    progress: float  # percent of files
    crc32: str | UnsetType = UNSET  # of this request's whole body: 8 hexadecimal digits (IEEE)
    part_number: int | UnsetType = UNSET
    part_count: int | UnsetType = UNSET


class FileIncomplete(Struct, frozen=True, kw_only=True):
    """308: how much of the file is held; go on behind it, as the header `Range` says too (without it: from byte 0)."""

    relative_path: str
    size: int
    held_bytes: int
    crc32: str | None = None  # of this request's body, where all of it is held


class ModelFile(Struct, frozen=True, kw_only=True):
    """One file of a complete upload."""

    relative_path: str
    size: int
    content_type: str
    sha256: str


class Completed(Struct, frozen=True, kw_only=True):
    """The upload is registered as a model; its verdict is on the way."""

    model_id: str
    model_name: str
    file_count: int
    total_size: int
    files: list[ModelFile]
    version: str
    status: Literal["completed"] = "completed"
    stripped_prefix: str | None = None
    dropped: list[str] = []


class Processing(Struct, frozen=True, kw_only=True):
    """The upload is still being unpacked; poll the Location."""

    session_id: str
    model_id: str
    model_name: str
    version: str
    status: Literal["processing"] = "processing"
    waiting_for: str | None = None


class ListUploads(Struct, frozen=True, kw_only=True):
    """Which sessions, and which page."""

    status: UploadStatus | None = None
    model_name: str | None = None
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class PartState(Struct, frozen=True, kw_only=True):
    """One stored part."""

    part_number: int
    size: int
    checksum: str


class FileState(Struct, frozen=True, kw_only=True):
    """One file of a directory, and how much of it has arrived."""

    relative_path: str
    size: int
    sha256: str | None
    status: Literal["missing", "partial", "received", "present"]
    upload_path: str
    part_count: int | None = None  # where it is sent in chunks
    received: list[Range] = []
    missing: list[Range] = []
    held_bytes: int | None = None  # where it is sent as one stream: go on behind them
    reason: str | None = None  # why what was sent before does not count


class Extraction(Struct, frozen=True, kw_only=True):
    """How far the extractor is; `parts_done` of the parts have been unpacked."""

    parts_done: int
    members: int
    bytes: int


class Session(Struct, frozen=True, kw_only=True):
    """What a client needs to go on with an upload, from any machine; lists leave `parts` and `files` out."""

    session_id: str
    kind: UploadKind
    model_id: str
    model_name: str
    version: str
    status: UploadStatus
    progress: float  # percent of bytes (archive, import) or files (directory)
    created_at: str
    expires_at: str
    upload_url: str
    extraction: Extraction
    error: dict[str, Any] | None = None
    waiting_for: str | None = None  # why it is parked, for a reason that is not its client's; it goes on after a repair
    archive_format: str | UnsetType = UNSET
    archive_size: int | UnsetType = UNSET
    chunk_size: int | UnsetType = UNSET
    uploaded_chunks: int | UnsetType = UNSET
    total_chunks: int | UnsetType = UNSET
    received: list[Range] | UnsetType = UNSET
    missing: list[Range] | UnsetType = UNSET
    parts: list[PartState] | UnsetType = UNSET
    uploaded_file_count: int | UnsetType = UNSET
    expected_file_count: int | UnsetType = UNSET
    files: list[FileState] | UnsetType = UNSET
    source: str | UnsetType = UNSET  # of an import


class SessionList(Struct, frozen=True, kw_only=True):
    """One page of sessions, newest first."""

    data: list[Session]
    has_more: bool
    object: Literal["list"] = "list"


class Aborted(Struct, frozen=True, kw_only=True):
    """What the session stored is being removed."""

    session_id: str
    status: Literal["aborted"] = "aborted"
