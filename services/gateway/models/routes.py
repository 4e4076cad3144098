"""The routes of the registry: models, their versions, files and reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET

from libs.db import Tx, connection, transaction
from libs.errors import FileMissing, Invalid, ModelNotFound, NotFound, ObjectNotFound
from libs.outbox import emit
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.models import deletion, registration, responses, schemas
from services.gateway.models.download import send_object
from services.gateway.models.store import deletion as deleted_models
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.models.store.models import CreatedRow, ListedModelRow, ModelRow, ReportRow, VersionRow
from services.gateway.projects.access import READ_MODELS, WRITE_MODELS

R = TypeVar("R", bound=msgspec.Struct)


async def list_models(request: Request[Dependencies]) -> schemas.ModelList:
    """The project's models, every version, newest first; or with `deleted` those that can be restored.

    Raises: Invalid for an `after` that is no model of the project.
    """
    query: schemas.ListModels = request.query
    if query.deleted and query.status is not None:
        raise Invalid("'status' does not go with deleted=true: deleted models have none of these.", param="status")
    async with connection(request.dependencies.pool) as tx:
        page = await _page(tx, request.principal.project_id, query)
        await _require_known(tx, request.principal.project_id, query.after, page)
    shown = page[: query.limit]
    return schemas.ModelList(
        models=[responses.listed(model) for model in shown],
        data=[responses.standard(model, request.principal.project_slug) for model in shown],
        has_more=len(page) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def _page(tx: Tx, project_id: str, query: schemas.ListModels) -> Sequence[ListedModelRow]:
    """The page, and one model more where there is one."""
    limit = query.limit + 1
    if query.deleted:
        return await deleted_models.page(
            tx, project_id, name=query.name, after=query.after, limit=limit, now=datetime.now(UTC)
        )
    return await models.page(
        tx, project_id, ListedModelRow, name=query.name, status=query.status, after=query.after, limit=limit
    )


async def _require_known(tx: Tx, project_id: str, after: str | None, page: Sequence[msgspec.Struct]) -> None:
    """Raises: Invalid, if a page is empty because it was to begin after a model that the project does not have."""
    if after is not None and not page and not await models.exists(tx, project_id, after):
        raise Invalid(
            f"Invalid 'after': this project has no model {after!r} any more; list from the beginning.", param="after"
        )


async def get_model(request: Request[Dependencies]) -> schemas.Standard:
    """One model by its id, or the latest version of a name. Raises: ModelNotFound."""
    owner = request.principal.project_slug
    if request.query.extended:
        return responses.extended(await _model(request, ModelRow), owner)
    return responses.standard(await _model(request, CreatedRow), owner)


async def update_model(request: Request[Dependencies]) -> schemas.Extended:
    """Set what a client says of a model; what later verdicts find does not replace it. Raises: ModelNotFound."""
    principal = request.principal
    values = {name: value for name, value in msgspec.structs.asdict(request.body).items() if value is not UNSET}
    async with transaction(request.dependencies.pool) as tx:
        found = await models.get(tx, principal.project_id, request.params["model_id"], ModelRow)
        model = await models.edit(tx, found.id, values) if values else found
    if model is None:
        raise ModelNotFound
    return responses.extended(model, principal.project_slug)


async def delete_model(request: Request[Dependencies]) -> schemas.Deleted:
    """Delete a model by its id, or the latest version of a name. Emits: ModelDeleted, UploadAborted.

    Raises: ModelNotFound, also for a model that is deleted already.
    """
    dependencies, now = request.dependencies, datetime.now(UTC)
    async with transaction(dependencies.pool) as tx:
        deleted, events = await deletion.delete(
            tx,
            request.principal.project_id,
            request.params["model_id"],
            by=request.principal.key_id,
            at=now,
            erase_at=now + timedelta(seconds=dependencies.config.restore_grace_s),
        )
        await emit(tx, events)
    return responses.deleted(deleted)


async def restore_model(request: Request[Dependencies]) -> schemas.Extended:
    """Bring a deleted model back, by its id; repeating it is fine. Emits: ModelRestored, ModelValidationRequested.

    Raises: ModelNotFound, also when its time has passed; Conflict if its version was uploaded anew.
    """
    principal, model_id = request.principal, request.params["model_id"]
    async with transaction(request.dependencies.pool) as tx:
        events = await deletion.restore(tx, principal.project_id, model_id, at=datetime.now(UTC))
        await emit(tx, events)
        model = await models.get(tx, principal.project_id, model_id, ModelRow)
    return responses.extended(model, principal.project_slug)


async def revalidate_model(request: Request[Dependencies]) -> schemas.Revalidated:
    """Have a model checked anew. Emits: ModelValidationRequested.

    Raises: ModelNotFound; InvalidModelStatus, unless the model is ready or in error, and has all its files.
    """
    async with transaction(request.dependencies.pool) as tx:
        question = await registration.revalidate(
            tx, request.principal.project_id, request.params["model_id"], at=datetime.now(UTC)
        )
        await emit(tx, [question])
    return schemas.Revalidated(id=question.model_id)


async def list_versions(request: Request[Dependencies]) -> schemas.VersionList:
    """Every version of the model's name. Raises: ModelNotFound; Invalid for an `after` that is no model."""
    query: schemas.ListVersions = request.query
    project_id = request.principal.project_id
    async with connection(request.dependencies.pool) as tx:
        model = await models.get(tx, project_id, request.params["model_id"], VersionRow)
        page = await models.page(tx, project_id, ModelRow, name=model.name, after=query.after, limit=query.limit + 1)
        await _require_known(tx, project_id, query.after, page)
    shown = page[: query.limit]
    return schemas.VersionList(
        data=[responses.extended(version, request.principal.project_slug) for version in shown],
        has_more=len(page) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
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


_get = partial(Route, "GET", access=READ_MODELS)

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
    Route(
        "PATCH",
        "models/{model_id}",
        update_model,
        summary="Set what is said of a model; only the fields that are given change",
        access=WRITE_MODELS,
        body=schemas.UpdateModel,
        returns=schemas.Extended,
    ),
    Route(
        "DELETE",
        "models/{model_id}",
        delete_model,
        summary="Delete a model; it can be restored for a while",
        access=WRITE_MODELS,
        returns=schemas.Deleted,
    ),
    Route(
        "POST",
        "models/{model_id}/restore",
        restore_model,
        summary="Bring a deleted model back",
        access=WRITE_MODELS,
        returns=schemas.Extended,
    ),
    Route(
        "POST",
        "models/{model_id}/revalidate",
        revalidate_model,
        summary="Check a model anew",
        access=WRITE_MODELS,
        returns=schemas.Revalidated,
    ),
    _get(
        "models/{model_id}/versions",
        list_versions,
        summary="All versions",
        query=schemas.ListVersions,
        returns=schemas.VersionList,
    ),
    _get("models/{model_id}/files", list_files, summary="The files of a model", returns=schemas.FileList),
    _get("models/{model_id}/files/{path:path}", download_file, summary="Download one file, whole or by range"),
    _get("models/{model_id}/report", get_report, summary="The validator's findings", returns=schemas.ModelReport),
]
