"""The routes of the registry: models, their versions, files and reports."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web

from libs.db import connection
from libs.errors import FileMissing, NotFound, ObjectNotFound
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.models import responses, schemas
from services.gateway.models.download import send_object
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.models.store.models import CreatedRow, ListedModelRow, ModelRow, ReportRow, VersionRow
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
            ListedModelRow,
            name=query.name,
            status=query.status,
            after=query.after,
            limit=query.limit + 1,
        )
    shown = page[: query.limit]
    return schemas.ModelList(
        models=[responses.listed(model) for model in shown],
        data=[responses.standard(model, request.principal.project_slug) for model in shown],
        has_more=len(page) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_model(request: Request[Dependencies]) -> schemas.Standard:
    """One model by its id, or the latest version of a name. Raises: ModelNotFound."""
    owner = request.principal.project_slug
    if request.query.extended:
        return responses.extended(await _model(request, ModelRow), owner)
    return responses.standard(await _model(request, CreatedRow), owner)


async def list_versions(request: Request[Dependencies]) -> schemas.VersionList:
    """Every version of the model's name. Raises: ModelNotFound."""
    dependencies = request.dependencies
    project_id = request.principal.project_id
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, project_id, request.params["model_id"], VersionRow)
        versions = await models.page(tx, project_id, ModelRow, name=model.name, limit=1000)
    return schemas.VersionList(
        data=[responses.extended(version, request.principal.project_slug) for version in versions]
    )


async def list_files(request: Request[Dependencies]) -> schemas.FileList:
    """The model's files, by path. Raises: ModelNotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, request.principal.project_id, request.params["model_id"], VersionRow)
        files = await model_files.of_model(tx, model.id)
    return schemas.FileList(data=[responses.listed_file(file) for file in files])


async def download_file(request: Request[Dependencies]) -> web.StreamResponse:
    """One file of the model, whole or by range.

    Raises: ModelNotFound; NotFound for a file that it does not have; FileMissing for one that storage has lost.
    """
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        model = await models.get(tx, request.principal.project_id, request.params["model_id"], VersionRow)
        file = await model_files.get(tx, model.id, request.params["path"])
    if file is None:
        raise NotFound(
            f"Model {model.name!r} has no file {request.params['path']!r}; GET models/{model.id}/files lists them."
        )
    try:
        return await send_object(request, file)
    except ObjectNotFound as error:
        raise FileMissing(responses.missing_reason([file.path]), retryable=False) from error


async def get_report(request: Request[Dependencies]) -> schemas.ModelReport:
    """The validator's report, or why there is none. Raises: ModelNotFound."""
    return responses.report(await _model(request, ReportRow))


async def _model(request: Request[Dependencies], row: type[R]) -> R:
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        return await models.get(tx, request.principal.project_id, request.params["model_id"], row)


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
