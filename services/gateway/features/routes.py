"""The operator's routes for features of a project."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from libs.db import connection, transaction
from libs.errors import NotFound
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.features import schemas, store
from services.gateway.presentation import timestamp
from services.gateway.projects.access import ALL_FEATURES, OPERATOR, Feature
from services.gateway.projects.store import get_project


async def list_features(request: Request[Dependencies]) -> schemas.FeatureList:
    """Every feature, on or off for the project. Raises: NotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        project = await get_project(tx, request.params["id"])
        enabled = await store.of_project(tx, project.id)
    return schemas.FeatureList(data=[_feature(each, enabled.get(each)) for each in ALL_FEATURES])


async def enable_feature(request: Request[Dependencies]) -> schemas.ProjectFeature:
    """Switch a feature on, from the next request of the project on. Raises: NotFound."""
    feature = _named(request)
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        project = await get_project(tx, request.params["id"])
        return _feature(feature, await store.enable(tx, project.id, feature))


async def disable_feature(request: Request[Dependencies]) -> schemas.ProjectFeature:
    """Switch a feature off, from the next request of the project on. Raises: NotFound."""
    feature = _named(request)
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        project = await get_project(tx, request.params["id"])
        await store.disable(tx, project.id, feature)
    return _feature(feature, None)


def _named(request: Request[Dependencies]) -> Feature:
    name = request.params["feature"]
    for feature in ALL_FEATURES:
        if feature == name:
            return feature
    raise NotFound(f"There is no feature '{name}'; there is: {', '.join(ALL_FEATURES)}.")


def _feature(feature: Feature, enabled_at: datetime | None) -> schemas.ProjectFeature:
    return schemas.ProjectFeature(
        feature=feature, enabled=enabled_at is not None, enabled_at=timestamp(enabled_at) if enabled_at else None
    )


_admin = partial(Route, base="root", access=OPERATOR)
_FEATURES = "/admin/v1/projects/{id}/features"

ROUTES = [
    _admin("GET", _FEATURES, list_features, summary="The features of a project", returns=schemas.FeatureList),
    _admin(
        "PUT",
        f"{_FEATURES}/{{feature}}",
        enable_feature,
        summary="Switch a feature on",
        returns=schemas.ProjectFeature,
    ),
    _admin(
        "DELETE",
        f"{_FEATURES}/{{feature}}",
        disable_feature,
        summary="Switch a feature off",
        returns=schemas.ProjectFeature,
    ),
]
