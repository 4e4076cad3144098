"""From rows of the registry to what the routes answer."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts import StoredFile
from libs.modelfiles import vllm
from services.gateway.models import schemas
from services.gateway.models.store.deletion import Deleted, ListedDeletedRow
from services.gateway.models.store.models import CreatedRow, ListedModelRow, ModelRow, ReportRow
from services.gateway.presentation import content_type, size_in_words, timestamp

NAMED_AT_MOST = 20  # files in one message

_IN_OTHER_FORM = {"created_at", "updated_at", "deployable", "deployable_reason"}
_AS_IN_ROW = set(schemas.Extended.__struct_fields__) & set(ModelRow.__struct_fields__) - _IN_OTHER_FORM


def standard(model: CreatedRow | ListedModelRow, owner: str) -> schemas.Standard:
    """A model as the OpenAI SDK knows it; `owner` is the slug of its project."""
    return schemas.Standard(id=model.id, created=int(model.created_at.timestamp()), owned_by=owner)


def listed(model: ListedModelRow) -> schemas.ListedModel:
    """A model as the documents list it; of a deleted one also until when it can be restored."""
    deleted: dict[str, str] = {}
    if isinstance(model, ListedDeletedRow):
        deleted = {"deleted_at": timestamp(model.deleted_at), "restorable_until": timestamp(model.erase_at)}
    return schemas.ListedModel(
        id=model.id,
        name=model.name,
        format=model.format,
        size_bytes=model.size_bytes,
        status=model.status,
        created_at=timestamp(model.created_at),
        version=model.version,
        is_latest=model.is_latest,
        **deleted,
    )


def extended(model: ModelRow, owner: str) -> schemas.Extended:
    """Everything that the registry knows of a model."""
    deployable, reason = deployability(model)
    return schemas.Extended(
        **{name: getattr(model, name) for name in _AS_IN_ROW},
        created=int(model.created_at.timestamp()),
        owned_by=owner,
        deployable=deployable,
        deployable_reason=reason,
        size_formatted=size_in_words(model.size_bytes),
        created_at=timestamp(model.created_at),
        updated_at=timestamp(model.updated_at),
    )


def deployability(model: ModelRow) -> tuple[bool | None, str | None]:
    """Whether vLLM can serve a model (None until there is a verdict), and why not.

    Whatever its verdict, it cannot where the model lacks files, or is said to be quantized as vLLM no longer loads.
    """
    if model.status_before_missing is not None:
        return False, model.status_reason
    if model.deployable is not False and model.quantization in vllm.LEGACY_QUANTIZATION:
        return False, f"vLLM {vllm.facts().versions['vllm']} does not load {model.quantization} weights."
    return model.deployable, model.deployable_reason


def deleted(model: Deleted) -> schemas.Deleted:
    """A model that is deleted."""
    until = model.restorable_until
    return schemas.Deleted(
        id=model.model_id,
        model_id=model.model_id,
        version=model.version,
        restorable_until=None if until is None else timestamp(until),
    )


def listed_file(file: StoredFile) -> schemas.ListedFile:
    """A file of a model."""
    return schemas.ListedFile(
        path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, content_type=content_type(file.path)
    )


def report(model: ReportRow) -> schemas.ModelReport:
    """The validator's report, or why there is none."""
    found = model.report
    return schemas.ModelReport(
        model_id=model.id,
        status=model.status,
        status_reason=model.status_reason,
        findings=found.findings if found else [],
        metadata=found.metadata if found else None,
        files_read=found.files_read if found else None,
        bytes_read=found.bytes_read if found else None,
        validator=found.validator if found else None,
        validated_at=timestamp(model.validated_at) if model.validated_at else None,
    )


def missing_reason(paths: Sequence[str]) -> str:
    """The `status_reason` of a model that lacks these files, and the message for a download of one."""
    if len(paths) == 1:
        return f"{paths[0]} is no longer in storage; upload the same file again and this model is whole again."
    named = ", ".join(paths[:NAMED_AT_MOST]) + (", …" if len(paths) > NAMED_AT_MOST else "")
    return (
        f"{len(paths)} files are no longer in storage: {named}; upload the same files again and this model is whole "
        "again."
    )
