"""Routes of the registry (seed: model-management): list, look at a model, its versions, files and verdict."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from libs.contracts import Finding, MemoryNeed, ModelMetadata
from libs.db import connection
from libs.errors import NotFound
from libs.web import Call, Route
from services.gateway.models import schemas
from services.gateway.models.download import send_object
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.models.store.models import Model
from services.gateway.presentation import content_type, size_in_words, timestamp
from services.gateway.state import Gateway


async def list_models(call: Call) -> schemas.ModelList:
    """The project's models, every version, newest first."""
    query: schemas.ListModels = call.query
    state: Gateway = call.state
    async with connection(state.pool) as tx:
        page = await models.page(
            tx,
            call.principal.project_id,
            name=query.name,
            status=query.status,
            after=query.after,
            limit=query.limit + 1,
        )
    shown = page[: query.limit]
    return schemas.ModelList(
        models=[_listed(model) for model in shown],
        data=[schemas.Standard(**_standard(call, model)) for model in shown],
        has_more=len(page) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_model(call: Call) -> schemas.Standard:
    """One model by its id, or the latest version of a name. Raises: ModelNotFound."""
    model = await _model(call)
    if call.query.extended:
        return _extended(call, model)
    return schemas.Standard(**_standard(call, model))


async def list_versions(call: Call) -> schemas.VersionList:
    """Every version of the model's name. Raises: ModelNotFound."""
    state: Gateway = call.state
    model = await _model(call)
    async with connection(state.pool) as tx:
        versions = await models.page(tx, model.project_id, name=model.name, status=None, after=None, limit=1000)
    return schemas.VersionList(data=[_extended(call, version) for version in versions])


async def list_files(call: Call) -> schemas.FileList:
    """The model's files, hashed when they arrived. Raises: ModelNotFound."""
    state: Gateway = call.state
    model = await _model(call)
    async with connection(state.pool) as tx:
        files = await model_files.of_model(tx, model.id)
    return schemas.FileList(
        data=[
            schemas.ListedFile(
                path=file.path,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                content_type=content_type(file.path),
            )
            for file in files
        ]
    )


async def download_file(call: Call) -> web.StreamResponse:
    """One file of the model, whole or by range. Raises: ModelNotFound; NotFound."""
    state: Gateway = call.state
    model = await _model(call)
    async with connection(state.pool) as tx:
        file = await model_files.get(tx, model.id, call.params["path"])
    if file is None:
        raise NotFound(
            f"Model {model.name!r} has no file {call.params['path']!r}; GET models/{model.id}/files lists them."
        )
    return await send_object(call, file)


async def get_report(call: Call) -> schemas.ModelReport:
    """What the validator found, or why there is no verdict. Raises: ModelNotFound."""
    model = await _model(call)
    report = model.report or {}
    return schemas.ModelReport(
        model_id=model.id,
        status=model.status,
        status_reason=model.status_reason,
        findings=msgspec.convert(report.get("findings", []), list[Finding]),
        metadata=msgspec.convert(report.get("metadata"), ModelMetadata | None),
        files_read=report.get("files_read"),
        bytes_read=report.get("bytes_read"),
        validator=report.get("validator"),
        validated_at=timestamp(model.validated_at) if model.validated_at else None,
    )


async def _model(call: Call) -> Model:
    state: Gateway = call.state
    async with connection(state.pool) as tx:
        return await models.get(tx, call.principal.project_id, call.params["model_id"])


def _standard(call: Call, model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "created": int(model.created_at.timestamp()),
        "owned_by": call.principal.project_slug,
    }


def _listed(model: Model) -> schemas.ListedModel:
    return schemas.ListedModel(
        id=model.id,
        name=model.name,
        format=model.format,
        sizeBytes=model.size_bytes,
        status=model.status,
        createdAt=timestamp(model.created_at),
        version=model.version,
        isLatest=model.is_latest,
    )


_IN_OTHER_FORM = {"created_at", "updated_at", "memory"}
_AS_IN_ROW = set(schemas.Extended.__struct_fields__) & set(Model.__struct_fields__) - _IN_OTHER_FORM


def _extended(call: Call, model: Model) -> schemas.Extended:
    return schemas.Extended(
        **{name: getattr(model, name) for name in _AS_IN_ROW} | _standard(call, model),
        memory=msgspec.convert(model.memory, MemoryNeed | None),
        size_formatted=size_in_words(model.size_bytes),
        created_at=timestamp(model.created_at),
        updated_at=timestamp(model.updated_at),
    )


_get = partial(Route, "GET", scope="models")

ROUTES = [
    _get("models", list_models, summary="List models", query=schemas.ListModels, returns=schemas.ModelList),
    _get(
        "models/{model_id}",
        get_model,
        summary="One model; ?extended=true for everything known of it",
        query=schemas.GetQuery,
        returns=schemas.Extended,
        also={200: schemas.Standard},
    ),
    _get("models/{model_id}/versions", list_versions, summary="All versions", returns=schemas.VersionList),
    _get("models/{model_id}/files", list_files, summary="The files of a model", returns=schemas.FileList),
    _get("models/{model_id}/files/{path:path}", download_file, summary="Download one file, whole or by range"),
    _get("models/{model_id}/report", get_report, summary="The validator's findings", returns=schemas.ModelReport),
]
