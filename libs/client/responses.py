"""The API's responses as Structs. Fields that a newer server adds are ignored; those that an older one lacks are None.

Sizes are in bytes, times are RFC 3339 in UTC, ranges are `[first, last]` of part numbers, both included.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from libs.contracts import Finding, MemoryNeed

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: list[T]
    has_more: bool = False

    @property
    def items(self) -> list[T]:
        """The items of this page."""
        return self.data


# Uploads


class ArchiveOpened(msgspec.Struct, frozen=True):
    """A session that waits for `total_chunks` parts of `chunk_size` bytes, the last one shorter."""

    session_id: str
    upload_url: str
    chunk_size: int
    total_chunks: int
    expires_at: str
    model_id: str | None = None
    version: str | None = None


class ManifestFile(msgspec.Struct, frozen=True):
    """One file of a manifest; `present` where the project already has these bytes."""

    relative_path: str
    size: int
    upload_path: str
    present: bool = False
    known_size: bool = False  # the project stores something of exactly this size: hashing may save sending it


class DirectoryOpened(msgspec.Struct, frozen=True):
    """A session that waits for the files of its manifest."""

    session_id: str
    upload_url: str
    files: list[ManifestFile]
    expires_at: str
    model_id: str | None = None
    version: str | None = None


class PartStored(msgspec.Struct, frozen=True):
    """A part that was stored; `checksum` is the SHA-256 of what arrived."""

    part_number: int
    size: int
    checksum: str
    progress: float = 0.0


class FileStored(msgspec.Struct, frozen=True):
    """A file that was stored; or, if `held_bytes` is set, how much of it the server holds."""

    relative_path: str
    size: int
    checksum: str | None = None  # SHA-256; None where the server still has to read the file for it
    crc32: str | None = None  # of the body of this request: 8 hex digits
    held_bytes: int | None = None  # None: all of it
    uploaded_file_count: int = 0
    expected_file_count: int = 0
    progress: float = 0.0


class SessionPart(msgspec.Struct, frozen=True):
    """A part that the server has."""

    part_number: int
    size: int
    checksum: str


class SessionFile(msgspec.Struct, frozen=True):
    """A file of a session: `missing`, `partial` (some of `part_count` parts), `received` or `present`."""

    relative_path: str
    size: int
    status: str
    sha256: str | None = None
    part_count: int | None = None
    missing: list[tuple[int, int]] | None = None


class Extraction(msgspec.Struct, frozen=True):
    """How far the server has unpacked."""

    members: int = 0
    bytes: int = 0
    parts_done: int = 0


class SessionError(msgspec.Struct, frozen=True):
    """Why a session failed."""

    message: str
    code: str | None = None
    finding: Finding | None = None


class Session(msgspec.Struct, frozen=True):
    """An upload: `open`, `processing`, `completed`, `failed`, `aborted` or `expired`."""

    session_id: str
    kind: str  # archive, directory, import, …
    model_id: str
    model_name: str
    status: str
    version: str | None = None
    archive_format: str | None = None
    archive_size: int | None = None
    chunk_size: int | None = None
    total_chunks: int | None = None
    uploaded_chunks: int | None = None
    expected_file_count: int | None = None
    uploaded_file_count: int | None = None
    progress: float = 0.0  # percent
    created_at: str | None = None
    expires_at: str | None = None
    received: list[tuple[int, int]] | None = None
    missing: list[tuple[int, int]] | None = None
    parts: list[SessionPart] | None = None
    files: list[SessionFile] | None = None
    extraction: Extraction | None = None
    error: SessionError | None = None
    waiting_for: str | None = None  # why the server does not go on now; it does so by itself, later
    source: str | None = None  # of an import


class CompletedFile(msgspec.Struct, frozen=True):
    """One file of a completed upload."""

    relative_path: str
    size: int
    content_type: str | None = None
    sha256: str | None = None


class Completed(msgspec.Struct, frozen=True):
    """The answer to complete; while `processing` it names only the session and the model."""

    status: str
    model_id: str
    model_name: str | None = None
    version: str | None = None
    file_count: int | None = None
    total_size: int | None = None
    files: list[CompletedFile] = []
    stripped_prefix: str | None = None
    dropped: list[str] = []  # members that belong to no model, such as .DS_Store


# Models


class ModelSummary(msgspec.Struct, frozen=True, rename="camel"):
    """One model of the list, in the documented spelling."""

    id: str
    name: str
    status: str
    format: str | None = None
    size_bytes: int | None = None
    created_at: str | None = None
    version: str | None = None
    is_latest: bool | None = None
    deleted_at: str | None = None  # this and the next only in the list of deleted models
    restorable_until: str | None = None


class ModelPage(msgspec.Struct, frozen=True):
    """One page of the documented list of models."""

    models: list[ModelSummary]
    has_more: bool = False

    @property
    def items(self) -> list[ModelSummary]:
        """The items of this page."""
        return self.models


class Model(msgspec.Struct, frozen=True):
    """One model with `?extended=true`; fields are None if its files do not say, or are not read yet."""

    id: str
    name: str
    status: str  # uploading, processing, validating, ready, active, error, deleting
    object: str = "model"
    created: int | None = None  # Unix seconds
    owned_by: str | None = None
    status_reason: str | None = None
    version: str | None = None
    is_latest: bool | None = None
    description: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    size_formatted: str | None = None
    file_count: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    context_length: int | None = None
    parameter_count: int | None = None
    hidden_size: int | None = None
    num_layers: int | None = None
    vocab_size: int | None = None
    workload_type: str | None = None
    license: str | None = None
    memory: MemoryNeed | None = None
    deployable: bool | None = None
    deployable_reason: str | None = None
    is_shared: bool | None = None
    catalog_role: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class DeletedModel(msgspec.Struct, frozen=True):
    """A model that was deleted, one version of its name."""

    id: str
    deleted: bool = True
    version: str | None = None
    restorable_until: str | None = None  # None: nothing is left to restore


class Sharing(msgspec.Struct, frozen=True, rename="camel"):
    """Whether a model is in the catalog, and since when it is, or is not."""

    model_id: str
    shared: bool
    shared_at: str | None = None
    unshared_at: str | None = None


class Revalidation(msgspec.Struct, frozen=True):
    """A model that is being checked anew; its report is the last one until that is done."""

    id: str
    status: str
    message: str | None = None


class CatalogInfo(msgspec.Struct, frozen=True):
    """What a shared model is in the catalog."""

    id: str
    catalog_role: str | None = None
    deployment_count: int = 0
    is_on_shared_agents: bool = False
    is_public: bool = False
    featured: bool = False
    shared_at: str | None = None


class CatalogModel(msgspec.Struct, frozen=True):
    """A model of the catalog; `owner` is the slug of the project that shares it."""

    id: str
    name: str
    object: str = "model"
    version: str | None = None
    owner: str | None = None
    description: str | None = None
    license: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    format: str | None = None
    context_length: int | None = None
    parameter_count: int | None = None
    workload_type: str | None = None
    size_bytes: int | None = None
    size_formatted: str | None = None
    memory: MemoryNeed | None = None
    catalog_role: str | None = None
    deployment_count: int = 0
    featured: bool = False
    shared_at: str | None = None


class ModelFile(msgspec.Struct, frozen=True):
    """One file of a model."""

    path: str
    size_bytes: int
    sha256: str
    content_type: str | None = None


class ModelReport(msgspec.Struct, frozen=True):
    """The validator's verdict."""

    model_id: str
    status: str
    status_reason: str | None = None
    findings: list[Finding] = []
    metadata: dict[str, Any] | None = None
    files_read: int | None = None
    bytes_read: int | None = None
    validator: str | None = None
    validated_at: str | None = None


# Imports


class ImportBegun(msgspec.Struct, frozen=True):
    """A model that is being copied from another store; `session_id` is an upload's, which shows how far it is."""

    session_id: str
    model_id: str
    model_name: str
    status: str
    version: str | None = None
    source: str | None = None
    file_count: int | None = None
    total_size: int | None = None
    dropped: list[str] = []  # left out: what macOS adds to folders


class Secret(msgspec.Struct, frozen=True):
    """Credentials that the project keeps for imports, without their value."""

    name: str
    type: str  # s3, azure
    created_at: str | None = None  # or replaced
    last_used_at: str | None = None


# Limits


class LimitUse(msgspec.Struct, frozen=True):
    """How much of one limit is used; `limit` is None where there is none."""

    used: int
    limit: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """What a project uses, and its limits by name; `key` has those of the calling key, where it has any."""

    project_id: str
    stored_bytes: int = 0  # each content once
    reserved_bytes: int = 0  # for uploads that have not ended
    objects: int = 0
    models: int = 0  # versions
    validating: int = 0
    restorable_models: int = 0  # of `models`, those that were deleted and can still be restored
    restorable_bytes: int = 0
    limits: dict[str, LimitUse] = {}
    key: dict[str, LimitUse] = {}


# Operator


class ProjectLeft(msgspec.Struct, frozen=True):
    """What there still is of a project that is being deleted."""

    models: int = 0
    objects: int = 0
    bytes: int = 0


class Project(msgspec.Struct, frozen=True):
    """A project; its `slug` is in its keys."""

    id: str
    name: str
    slug: str
    created_at: str | None = None
    revoked_at: str | None = None
    status: str | None = None  # active, disabled, deleting, deleted
    deleted_at: str | None = None
    left: ProjectLeft | None = None  # while it is being deleted


class Key(msgspec.Struct, frozen=True):
    """A key of a project; `key` itself is answered once, at creation."""

    id: str
    key: str | None = None
    name: str | None = None
    project_id: str | None = None
    prefix: str | None = None
    scopes: list[str] | None = None
    role: str | None = None
    member_id: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
