"""From rows of the registry to models as Fireworks shows them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from services.gateway.fireworks import schemas
from services.gateway.fireworks.store import AccountModelRow
from services.gateway.models.states import ERROR, USABLE
from services.gateway.presentation import timestamp

READY, UPLOADING = "READY", "UPLOADING"


def show_model(
    account: str, model: AccountModelRow, files: Sequence[str], status: schemas.Condition | None = None
) -> schemas.AccountModel:
    """A model; `files` are those that the registry has, `status` is said instead of its own."""
    declared = msgspec.convert(model.declared or {}, schemas.NewModel)
    details = declared.base_model_details or schemas.BaseModelDetails()
    return schemas.AccountModel(
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


def already_exists(model: AccountModelRow) -> schemas.Condition:
    """What a repeated create says, with how another version comes to be."""
    if model.status in USABLE:
        more = "It is READY, and stays as it is; delete it first to upload another one under this name."
    elif model.status == ERROR:
        more = f"It failed: {model.status_reason} getUploadEndpoint begins its upload anew."
    else:
        more = "Go on with getUploadEndpoint and validateUpload."
    return schemas.Condition(code="ALREADY_EXISTS", message=f"Model {model.name!r} exists already. {more}")


def _status(model: AccountModelRow) -> schemas.Condition:
    if model.status in USABLE:
        return schemas.Condition(message="" if model.deployable is not False else model.deployable_reason or "")
    if model.status == ERROR:
        return schemas.Condition(code="INVALID_ARGUMENT", message=model.status_reason or "")
    return schemas.Condition(message=model.status_reason or f"The model is {model.status}.")
