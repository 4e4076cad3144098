"""Routes of limits, for operators, and of the usage of a project, for any key of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Final

from msgspec import UNSET

from libs.contracts import ProjectLimited
from libs.db import connection, transaction
from libs.errors import Invalid
from libs.outbox import emit
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.limits import responses, schemas, store
from services.gateway.limits.rate import NAME as RATE
from services.gateway.limits.terms import ALWAYS, NAMES, OF_KEYS, UNLIMITED, LimitName, OwnLimits
from services.gateway.projects.access import ANY_KEY, OPERATOR, ProjectKey

VALIDATIONS: Final[LimitName] = "validations_at_once"


async def get_usage(request: Request[Dependencies]) -> schemas.Usage:
    """What the project uses, and its limits; the last seconds of what was stored or removed count already."""
    dependencies, principal = request.dependencies, request.principal
    project_id, key_id = principal.project_id, principal.key_id
    async with connection(dependencies.pool) as tx:
        use = await store.use_of(tx, project_id, key_id)
        models = await store.models_of(tx, project_id)
        requests = {subject: await store.requests_taken(tx, subject) for subject in (project_id, key_id)}
    ours, keys = UNLIMITED, UNLIMITED
    if isinstance(principal, ProjectKey):
        ours, keys = principal.limits, principal.key_limits
    bodies = max(each.slots.held_by(project_id) for each in (dependencies.incoming, dependencies.downloads))
    default = {name: responses.defaults(dependencies.config)[name] for name in ALWAYS}
    of_project = responses.of_limits(
        use, requests=_sent(requests[project_id], ours.requests_per_second), bodies=bodies, validating=models.validating
    )
    of_key = {
        **of_project,
        RATE: _sent(requests[key_id], keys.requests_per_second),
        "open_uploads": use.open_uploads_of_key,
        "bodies_at_once": max(each.held_by_key(key_id) for each in (dependencies.incoming, dependencies.downloads)),
    }
    limited = [name for name in OF_KEYS if getattr(keys, name) is not None]
    return schemas.Usage(
        project_id=project_id,
        stored_bytes=use.stored_bytes,
        reserved_bytes=use.reserved_bytes,
        objects=use.objects,
        models=use.models,
        validating=models.validating,
        restorable_models=models.restorable,
        restorable_bytes=models.restorable_bytes,
        limits=responses.used(of_project, ours, NAMES, default),
        key=responses.used(of_key, keys, limited, {}),
    )


def _sent(taken: int, limit: int | None) -> int:
    """Requests of the current second, of those that are counted at all."""
    return 0 if limit is None else min(taken, limit)


async def get_limits_of_project(request: Request[Dependencies]) -> schemas.LimitsOf:
    """The limits of a project. Raises: NotFound."""
    project_id = request.params["id"]
    async with connection(request.dependencies.pool) as tx:
        own = await store.limits_of_project(tx, project_id)
    return responses.of_project(project_id, own, request.dependencies.config)


async def change_limits_of_project(request: Request[Dependencies]) -> schemas.LimitsOf:
    """Change limits of a project; they hold from the next request on.

    Emits: ProjectLimited, for the limit that the validator keeps.
    Raises: NotFound; Invalid.
    """
    project_id, body = request.params["id"], request.body
    changed, unset = _changes(body)
    async with transaction(request.dependencies.pool) as tx:
        own = await store.set_limits_of_project(tx, project_id, changed, unset)
        if own.get(RATE) is None:
            await store.forget_requests(tx, project_id)
        if VALIDATIONS in changed or VALIDATIONS in unset:
            at_once = own.get(VALIDATIONS)
            await emit(tx, [ProjectLimited(project_id=project_id, validations_at_once=at_once, at=datetime.now(UTC))])
    return responses.of_project(project_id, own, request.dependencies.config)


async def get_limits_of_key(request: Request[Dependencies]) -> schemas.LimitsOf:
    """The limits of a key, beside those of its project. Raises: NotFound."""
    project_id, key_id = request.params["id"], request.params["key_id"]
    async with connection(request.dependencies.pool) as tx:
        own = await store.limits_of_key(tx, project_id, key_id)
    return responses.of_key(project_id, key_id, own)


async def change_limits_of_key(request: Request[Dependencies]) -> schemas.LimitsOf:
    """Change limits of a key; they hold from the next request on. Raises: NotFound; Invalid."""
    project_id, key_id, body = request.params["id"], request.params["key_id"], request.body
    changed, unset = _changes(body)
    for name in (*changed, *unset):
        if name not in OF_KEYS:
            raise Invalid(
                f"'{name}' is a limit of projects only: what is kept belongs to the project, not to one of its keys. "
                f"Keys may have {', '.join(OF_KEYS)}.",
                param=name,
            )
    async with transaction(request.dependencies.pool) as tx:
        own = await store.set_limits_of_key(tx, project_id, key_id, changed, unset)
        if own.get(RATE) is None:
            await store.forget_requests(tx, key_id)
    return responses.of_key(project_id, key_id, own)


def _changes(body: schemas.ChangeLimits) -> tuple[OwnLimits, list[str]]:
    """The limits to be set, and those to be taken away so that the default holds. Raises: Invalid."""
    changed: dict[str, int | None] = {}
    unset: list[str] = []
    for name in NAMES:
        wanted = getattr(body, name)
        if wanted is None:
            unset.append(name)
        elif wanted is not UNSET:
            changed[name] = None if wanted == "none" else wanted
            _require_possible(name, changed[name])
    if not changed and not unset:
        raise Invalid(f"Name at least one limit: {', '.join(NAMES)}.")
    return changed, unset


def _require_possible(name: LimitName, maximum: int | None) -> None:
    if maximum is None and name in ALWAYS:
        raise Invalid(
            f"'{name}' cannot be without a limit; give a number, or null for that of the setting {ALWAYS[name]}.",
            param=name,
        )


_operator = partial(Route, base="root", access=OPERATOR, returns=schemas.LimitsOf)
_PROJECT = "/admin/v1/projects/{id}/limits"
_KEY = "/admin/v1/projects/{id}/keys/{key_id}/limits"

ROUTES = [
    Route(
        "GET",
        "usage",
        get_usage,
        summary="What the project uses, and its limits",
        access=ANY_KEY,
        returns=schemas.Usage,
    ),
    _operator("GET", _PROJECT, get_limits_of_project, summary="The limits of a project"),
    _operator(
        "PATCH", _PROJECT, change_limits_of_project, summary="Change limits of a project", body=schemas.ChangeLimits
    ),
    _operator("GET", _KEY, get_limits_of_key, summary="The limits of a key"),
    _operator("PATCH", _KEY, change_limits_of_key, summary="Change limits of a key", body=schemas.ChangeLimits),
]
