"""Routes of the registry (seed: model-management): list, look at a model, its versions, files and verdict."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web

from libs.db import connection
from libs.errors import FileMissing, NotFound, ObjectNotFound
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.models import missing, schemas
from services.gateway.models.download import send_object
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.models.store.models import Created, Judged, ListedModel, Model, Version
from services.gateway.presentation import content_type, size_in_words, timestamp
from services.gateway.projects.access import MODELS

R = TypeVar("R", bound=msgspec.Struct)


async def list_models(request: Request[Dependencies]) -> schemas.ModelList:
    """The project's models, every version, newest first."""
    query: schemas.ListModels = request.query
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        page = await models.page(
            tx,
            request.principal.project_id,
            ListedModel,
            name=query.name,
            status=query.status,
            after=query.after,
            limit=query.limit + 1,
        )
    shown = page[: query.limit]
    return schemas.ModelList(
        models=[_listed(model) for model in shown],
        data=[_standard(request, model) for model in shown],
        has_more=len(page) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_model(request: Request[Dependencies]) -> schemas.Standard:
    """One model by its id, or the latest version of a name. Raises: ModelNotFound."""
    if request.query.extended:
        return _extended(request, await _model(request, Model))
    return _standard(request, await _model(request, Created))


async def list_versions(request: Request[Dependencies]) -> schemas.VersionList:
    """Every version of the model's name. Raises: ModelNotFound."""
    dependencies = request.dependencies
    project_id = request.principal.project_id
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, project_id, request.params["model_id"], Version)
        versions = await models.page(tx, project_id, Model, name=model.name, limit=1000)
    return schemas.VersionList(data=[_extended(request, version) for version in versions])


async def list_files(request: Request[Dependencies]) -> schemas.FileList:
    """The model's files, hashed when they arrived. Raises: ModelNotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, request.principal.project_id, request.params["model_id"], Version)
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


async def download_file(request: Request[Dependencies]) -> web.StreamResponse:
    """One file of the model, whole or by range.

    Raises: ModelNotFound; NotFound for a file that it does not have; FileMissing for one that storage has lost.
    """
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, request.principal.project_id, request.params["model_id"], Version)
        file = await model_files.get(tx, model.id, request.params["path"])
    if file is None:
        raise NotFound(
            f"Model {model.name!r} has no file {request.params['path']!r}; GET models/{model.id}/files lists them."
        )
    try:
        return await send_object(request, file)
    except ObjectNotFound as error:
        raise FileMissing(missing.reason([file.path]), retryable=False) from error


async def get_report(request: Request[Dependencies]) -> schemas.ModelReport:
    """What the validator found, or why there is no verdict. Raises: ModelNotFound."""
    model = await _model(request, Judged)
    report = model.report
    return schemas.ModelReport(
        model_id=model.id,
        status=model.status,
        status_reason=model.status_reason,
        findings=report.findings if report else [],
        metadata=report.metadata if report else None,
        files_read=report.files_read if report else None,
        bytes_read=report.bytes_read if report else None,
        validator=report.validator if report else None,
        validated_at=timestamp(model.validated_at) if model.validated_at else None,
    )


async def _model(request: Request[Dependencies], row: type[R]) -> R:
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        return await models.get(tx, request.principal.project_id, request.params["model_id"], row)


def _standard(request: Request[Dependencies], model: Created | ListedModel) -> schemas.Standard:
    return schemas.Standard(
        id=model.id, created=int(model.created_at.timestamp()), owned_by=request.principal.project_slug
    )


def _listed(model: ListedModel) -> schemas.ListedModel:
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


_IN_OTHER_FORM = {"created_at", "updated_at", "deployable", "deployable_reason"}
_AS_IN_ROW = set(schemas.Extended.__struct_fields__) & set(Model.__struct_fields__) - _IN_OTHER_FORM


def _extended(request: Request[Dependencies], model: Model) -> schemas.Extended:
    lacking = model.status_before_missing is not None
    return schemas.Extended(
        **{name: getattr(model, name) for name in _AS_IN_ROW},
        created=int(model.created_at.timestamp()),
        owned_by=request.principal.project_slug,
        deployable=False if lacking else model.deployable,
        deployable_reason=model.status_reason if lacking else model.deployable_reason,
        size_formatted=size_in_words(model.size_bytes),
        created_at=timestamp(model.created_at),
        updated_at=timestamp(model.updated_at),
    )


_get = partial(Route, "GET", access=MODELS)

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
