"""Answers of the model routes, as the documents name their fields. Sizes are in bytes."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from libs.contracts import Finding, MemoryNeed, ModelMetadata, WorkloadType
from libs.modelfiles import vllm
from services.gateway.models.states import VisibleStatus

QUANTIZATIONS: Final = sorted(vllm.facts().quantization | vllm.LEGACY_QUANTIZATION | {vllm.NATIVE})

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Dimension = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Quantization = Annotated[
    str,
    Meta(
        pattern=f"^(?:{'|'.join(QUANTIZATIONS)})(?!\\n)$",
        description=f"one of {', '.join(repr(method) for method in QUANTIZATIONS)}",
        extra_json_schema={"enum": QUANTIZATIONS},
    ),
]


class ListModels(Struct, frozen=True, kw_only=True):
    """Which models, and which page."""

    name: str | None = None
    status: VisibleStatus | None = None
    deleted: bool = False  # instead, those that are deleted and can be restored
    after: str | None = None  # the last id of the page before
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class ListedModel(Struct, frozen=True, kw_only=True):
    """One model as the document lists it."""

    id: str
    name: str
    format: str | None
    size_bytes: int = field(name="sizeBytes")  # this and others as the documents spell them
    status: str
    created_at: str = field(name="createdAt")
    version: str
    is_latest: bool = field(name="isLatest")
    deleted_at: str | UnsetType = field(name="deletedAt", default=UNSET)  # this and the next only with ?deleted=true
    restorable_until: str | UnsetType = field(name="restorableUntil", default=UNSET)


class Standard(Struct, frozen=True, kw_only=True):
    """One model as the OpenAI SDK knows it."""

    id: str
    created: int  # Unix seconds
    owned_by: str
    object: Literal["model"] = "model"


class ModelList(Struct, frozen=True, kw_only=True):
    """One page in both forms: `models` for the document's clients, `object` and `data` for the SDK's."""

    models: list[ListedModel]
    data: list[Standard]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class GetQuery(Struct, frozen=True, kw_only=True):
    """How much to tell."""

    extended: bool = False


class Extended(Standard, frozen=True, kw_only=True):
    """Everything that the registry knows of a model."""

    name: str
    format: str | None
    size_bytes: int
    size_formatted: str
    status: str
    status_reason: str | None
    version: str
    is_latest: bool
    description: str | None
    license: str | None
    architecture: str | None
    quantization: str | None
    context_length: int | None
    parameter_count: int | None
    hidden_size: int | None
    num_layers: int | None
    vocab_size: int | None
    dtype: str | None
    workload_type: str
    memory: MemoryNeed | None
    deployable: bool | None  # None until there is a verdict
    deployable_reason: str | None
    file_count: int
    is_shared: bool
    catalog_role: str | None
    created_at: str
    updated_at: str


class UpdateModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client says of a model; fields that are left out stay as they are, null clears one."""

    description: Annotated[str, Meta(max_length=4096)] | UnsetType | None = UNSET
    license: Text | UnsetType | None = UNSET  # an identifier, e.g. Apache-2.0
    architecture: Text | UnsetType | None = UNSET  # e.g. LlamaForCausalLM
    quantization: Quantization | UnsetType | None = UNSET
    context_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType | None = UNSET  # tokens
    parameter_count: Annotated[int, Meta(ge=1, le=2**53 - 1)] | UnsetType | None = UNSET  # exact in JavaScript too
    hidden_size: Dimension | UnsetType | None = UNSET
    num_layers: Dimension | UnsetType | None = UNSET
    vocab_size: Dimension | UnsetType | None = UNSET
    workload_type: WorkloadType | UnsetType = UNSET


class Deleted(Struct, frozen=True, kw_only=True):
    """The model is deleted: as the document answers it, and as the OpenAI SDK reads it."""

    model_id: str = field(name="modelId")
    id: str
    version: str
    restorable_until: str | None  # None: its upload was not complete, and nothing is left of it
    deleted: bool = True
    object: Literal["model"] = "model"


class Revalidated(Struct, frozen=True, kw_only=True):
    """The model is checked anew; its report is the last one until that is done."""

    id: str
    status: Literal["validating"] = "validating"
    message: str = "Model validation queued"


class ListVersions(Struct, frozen=True, kw_only=True):
    """Which page of versions."""

    after: str | None = None  # the last id of the page before
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class VersionList(Struct, frozen=True, kw_only=True):
    """The versions of a model's name, newest first."""

    data: list[Extended]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class ListedFile(Struct, frozen=True, kw_only=True):
    """One file of a model."""

    path: str
    size_bytes: int
    sha256: str
    content_type: str


class FileList(Struct, frozen=True, kw_only=True):
    """The files of a model, by path."""

    data: list[ListedFile]
    object: Literal["list"] = "list"


class ModelReport(Struct, frozen=True, kw_only=True):
    """The validator's verdict, or why there is none (yet)."""

    model_id: str
    status: str
    status_reason: str | None
    findings: list[Finding]
    metadata: ModelMetadata | None = None
    files_read: int | None = None
    bytes_read: int | None = None
    validator: str | None = None
    validated_at: str | None = None
