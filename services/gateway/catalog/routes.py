"""The routes of the catalog: sharing, and what is shared."""

from __future__ import annotations

from functools import partial

from libs.db import connection, transaction
from libs.errors import Invalid, ModelNotFound
from libs.web import Request, Route
from services.gateway.catalog import listing, responses, schemas, store, transitions
from services.gateway.dependencies import Dependencies
from services.gateway.presentation import timestamp
from services.gateway.projects.access import READ_MODELS, SHARE_MODELS


async def share(request: Request[Dependencies]) -> schemas.Shared:
    """Share a model of the project. Raises: ModelNotFound; InvalidModelStatus."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        model_id, at = await transitions.share(tx, request.principal.project_id, request.params["model_id"])
    return schemas.Shared(model_id=model_id, shared_at=timestamp(at))


async def unshare(request: Request[Dependencies]) -> schemas.Unshared:
    """Unshare a model of the project. Raises: ModelNotFound; InvalidModelStatus."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        model_id, at = await transitions.unshare(tx, request.principal.project_id, request.params["model_id"])
    return schemas.Unshared(model_id=model_id, unshared_at=timestamp(at))


async def get_info(request: Request[Dependencies]) -> schemas.CatalogInfo:
    """What a model of the catalog is there: one of this project, or of any other. Raises: ModelNotFound."""
    dependencies = request.dependencies
    project_id = request.principal.project_id
    async with connection(dependencies.pool) as tx:
        model = await store.standing(tx, project_id, request.params["model_id"])
    if model is not None and model.listed and model.shared_at is not None:
        return responses.info(model, model.shared_at)
    if model is not None and model.project_id == project_id:
        raise ModelNotFound(responses.why_not_listed(model))
    raise ModelNotFound


async def list_catalog(request: Request[Dependencies]) -> schemas.CatalogPage:
    """The models that any project may use, the last shared first. Raises: Invalid for an unknown `after`."""
    query: schemas.ListCatalog = request.query
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        after = await store.place_of(tx, query.after) if query.after else store.TOP
        if after is None:
            raise Invalid("'after' names no model of the catalog; begin again, without it.", param="after")
        found = await listing.page(tx, query, after, query.limit + 1)
    shown = found[: query.limit]
    return schemas.CatalogPage(
        data=[responses.entry(each) for each in shown],
        has_more=len(found) > query.limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


async def get_entry(request: Request[Dependencies]) -> schemas.CatalogModel:
    """One model of the catalog. Raises: ModelNotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        found = await store.get(tx, request.params["model_id"])
    if found is None:
        raise ModelNotFound
    return responses.entry(found)


_get = partial(Route, "GET", access=READ_MODELS)

ROUTES = [
    Route(
        "POST",
        "models/{model_id}/share",
        share,
        summary="Share a model with all projects",
        access=SHARE_MODELS,
        returns=schemas.Shared,
    ),
    Route(
        "POST",
        "models/{model_id}/unshare",
        unshare,
        summary="Take a model out of the catalog",
        access=SHARE_MODELS,
        returns=schemas.Unshared,
    ),
    _get(
        "models/{model_id}/catalog-info",
        get_info,
        summary="What a shared model is in the catalog",
        returns=schemas.CatalogInfo,
    ),
    _get(
        "catalog",
        list_catalog,
        summary="The models that any project may use",
        query=schemas.ListCatalog,
        returns=schemas.CatalogPage,
    ),
    _get("catalog/{model_id}", get_entry, summary="One model of the catalog", returns=schemas.CatalogModel),
]
