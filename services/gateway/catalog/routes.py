"""The routes of the catalog: sharing, and what is shared."""

from __future__ import annotations

from libs.db import transaction
from libs.web import Request, Route
from services.gateway.catalog import schemas, transitions
from services.gateway.dependencies import Dependencies
from services.gateway.presentation import timestamp
from services.gateway.projects.access import SHARE_MODELS


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
]
