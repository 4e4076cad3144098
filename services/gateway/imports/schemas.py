"""Bodies and responses of imports. Sizes are in bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from services.gateway.secrets.schemas import SecretName
from services.gateway.uploads.schemas import ModelName, Version

Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class CreateImport(Struct, frozen=True, kw_only=True):
    """POST uploads/import.

    `source`: s3://BUCKET/FOLDER, or https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER. `endpoint`: of a store
    other than Amazon's or Azure's own. `secret`: the name of the project's secret; without, the source is public.
    """

    model_name: ModelName
    source: Text
    version: Version | None = None
    endpoint: Text | None = None
    region: Text | None = None
    secret: SecretName | None = None


class ImportedFile(Struct, frozen=True, kw_only=True):
    """One file that is being copied."""

    relative_path: str
    size: int


class ImportBegun(Struct, frozen=True, kw_only=True):
    """The source's files are being copied; GET uploads/{session_id} shows how far."""

    session_id: str
    model_id: str
    model_name: str
    version: str
    source: str
    file_count: int
    total_size: int
    files: list[ImportedFile]
    dropped: list[str]  # left out: what macOS adds to folders
    status: Literal["processing"] = "processing"
