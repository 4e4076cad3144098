"""From rows of the registry to models as Fireworks shows them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from services.gateway.fireworks import schemas
from services.gateway.fireworks.store import ModelRow
from services.gateway.models.states import ERROR, USABLE
from services.gateway.presentation import timestamp

READY, UPLOADING = "READY", "UPLOADING"


def show_model(
    account: str, model: ModelRow, files: Sequence[str], status: schemas.ModelStatus | None = None
) -> schemas.Model:
    """A model; `files` are those that the registry has, `status` is said instead of its own."""
    declared = msgspec.convert(model.declared or {}, schemas.NewModel)
    details = declared.base_model_details or schemas.BaseModelDetails()
    return schemas.Model(
        name=f"accounts/{account}/models/{quote(model.name, safe='')}",
        display_name=declared.display_name or model.name,
        description=model.description or "",
        create_time=timestamp(model.created_at),
        update_time=timestamp(model.updated_at),
        state=READY if model.status in USABLE else UPLOADING,
        status=status or _status(model),
        kind=declared.kind,
        base_model_details=msgspec.structs.replace(
            details,
            huggingface_files=list(files) or details.huggingface_files,
            parameter_count=str(model.parameter_count) if model.parameter_count is not None else None,
            model_type=model.architecture,
        ),
        context_length=model.context_length,
    )


def already_exists(model: ModelRow) -> schemas.ModelStatus:
    """What a repeated create says, with how another version comes to be."""
    if model.status in USABLE:
        more = "It is READY, and stays as it is; delete it first to upload another one under this name."
    elif model.status == ERROR:
        more = f"It failed: {model.status_reason} getUploadEndpoint begins its upload anew."
    else:
        more = "Go on with getUploadEndpoint and validateUpload."
    return schemas.ModelStatus(code="ALREADY_EXISTS", message=f"Model {model.name!r} exists already. {more}")


def _status(model: ModelRow) -> schemas.ModelStatus:
    if model.status in USABLE:
        return schemas.ModelStatus(message="" if model.deployable is not False else model.deployable_reason or "")
    if model.status == ERROR:
        return schemas.ModelStatus(code="INVALID_ARGUMENT", message=model.status_reason or "")
    return schemas.ModelStatus(message=model.status_reason or f"The model is {model.status}.")
