"""The routes of models as Fireworks has them. The summaries are part of the public API's document."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from libs.db import connection, transaction
from libs.errors import Invalid, ModelNotFound
from libs.outbox import emit
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.fireworks import responses, schemas, store
from services.gateway.fireworks.account import account_of
from services.gateway.fireworks.errors import GOOGLE
from services.gateway.fireworks.opening import begin
from services.gateway.fireworks.uploading import get_upload_endpoint
from services.gateway.fireworks.validating import validate_upload
from services.gateway.models import deletion
from services.gateway.projects.access import READ_MODELS, WRITE_MODELS

KINDS = ("HF_BASE_MODEL", "KIND_UNSPECIFIED", "")
FORMATS = ("HUGGINGFACE", "CHECKPOINT_FORMAT_UNSPECIFIED", "")
DEFAULT_PAGE, LARGEST_PAGE = 50, 200  # models


async def create_model(request: Request[Dependencies]) -> schemas.AccountModel:
    """Create a model whose files come by signed URLs. One that exists is answered as it is, with ALREADY_EXISTS.

    Raises: NotFound for another account; Invalid for a kind of model that cannot be uploaded here.
    """
    account, project_id = account_of(request), request.principal.project_id
    body: schemas.CreateAccountModel = request.body
    _require_supported(body.model)
    async with transaction(request.dependencies.pool) as tx:
        await store.lock_name(tx, project_id, body.model_id)
        found = await store.find(tx, project_id, body.model_id)
        if found is not None:
            files = (await store.files_of(tx, [found.id])).get(found.id, [])
            return responses.show_model(account, found, files, responses.already_exists(found))
        declared = msgspec.to_builtins(body.model)
        await begin(request, tx, body.model_id, declared, body.model.description)
        return responses.show_model(account, await store.get(tx, project_id, body.model_id), [])


def _require_supported(model: schemas.NewModel) -> None:
    if model.kind not in KINDS:
        raise Invalid(
            f"Models of the kind {model.kind} cannot be uploaded here, only HF_BASE_MODEL.", param="model.kind"
        )
    details = model.base_model_details
    if details is not None and details.checkpoint_format not in FORMATS:
        raise Invalid(
            f"The checkpoint format {details.checkpoint_format} is not supported, only HUGGINGFACE.",
            param="model.baseModelDetails.checkpointFormat",
        )


async def get_model(request: Request[Dependencies]) -> schemas.AccountModel:
    """A model. Raises: NotFound; ModelNotFound."""
    account = account_of(request)
    async with connection(request.dependencies.pool) as tx:
        found = await store.get(tx, request.principal.project_id, request.params["model"])
        files = (await store.files_of(tx, [found.id])).get(found.id, [])
    return responses.show_model(account, found, files)


async def list_models(request: Request[Dependencies]) -> schemas.AccountModels:
    """Models by name. Raises: NotFound; Invalid for a page token that is none."""
    account, project_id = account_of(request), request.principal.project_id
    query: schemas.ListAccountModels = request.query
    size = min(query.page_size or DEFAULT_PAGE, LARGEST_PAGE)
    async with connection(request.dependencies.pool) as tx:
        found = await store.page(tx, project_id, after=_name_in(query.page_token), limit=size + 1)
        total = await store.count(tx, project_id)
        shown = found[:size]
        files = await store.files_of(tx, [model.id for model in shown])
    return schemas.AccountModels(
        models=[responses.show_model(account, model, files.get(model.id, [])) for model in shown],
        next_page_token=_token_of(shown[-1].name) if len(found) > size else "",
        total_size=total,
    )


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_in(token: str) -> str:
    try:
        name = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        raise Invalid("pageToken is not one that a list of models has given.", param="pageToken") from None
    if "\0" in name:
        raise Invalid("pageToken is not one that a list of models has given.", param="pageToken")
    return name


async def delete_model(request: Request[Dependencies]) -> schemas.Nothing:
    """Delete a model with all its versions, as `DELETE models/{id}` does one; an upload that has not ended is aborted.

    Emits: ModelDeleted, UploadAborted.
    Raises: NotFound; ModelNotFound.
    """
    account_of(request)
    project_id, now = request.principal.project_id, datetime.now(UTC)
    erase_at = now + timedelta(seconds=request.dependencies.config.restore_grace_s)
    async with transaction(request.dependencies.pool) as tx:
        versions = await store.versions(tx, project_id, request.params["model"])
        for model_id in versions:
            _, events = await deletion.delete(
                tx, project_id, model_id, by=request.principal.key_id, at=now, erase_at=erase_at
            )
            await emit(tx, events)
    if not versions:
        raise ModelNotFound
    return schemas.Nothing()


_read = partial(Route, access=READ_MODELS, errors=GOOGLE)
_write = partial(Route, access=WRITE_MODELS, errors=GOOGLE)
_MODELS = "accounts/{account}/models"
_MODEL = "accounts/{account}/models/{model}"

ROUTES = [
    _write(
        "POST",
        _MODELS,
        create_model,
        summary="Create a model whose files come by signed URLs",
        body=schemas.CreateAccountModel,
        returns=schemas.AccountModel,
    ),
    _read(
        "GET",
        _MODELS,
        list_models,
        summary="List models by name",
        query=schemas.ListAccountModels,
        returns=schemas.AccountModels,
    ),
    _read("GET", _MODEL, get_model, summary="One model", returns=schemas.AccountModel),
    _write("DELETE", _MODEL, delete_model, summary="Delete a model", returns=schemas.Nothing),
    _write(
        "POST",
        f"{_MODEL}:getUploadEndpoint",
        get_upload_endpoint,
        summary="Where to PUT each file of a model",
        body=schemas.GetUploadEndpoint,
        returns=schemas.UploadEndpoint,
    ),
    _write(
        "GET",
        f"{_MODEL}:validateUpload",
        validate_upload,
        summary="Check what has arrived, and make the model READY",
        query=schemas.ValidateQuery,
        returns=schemas.Nothing,
    ),
]
