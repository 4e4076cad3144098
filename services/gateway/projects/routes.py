"""The operator's routes for projects and their keys."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from libs.db import Tx, connection, transaction
from libs.errors import Conflict, Invalid, NotFound, WrongState
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.members import store as members
from services.gateway.projects import responses, schemas, store
from services.gateway.projects.access import ALL_SCOPES, OPERATOR, WHOLE_SCOPES, Role
from services.gateway.projects.identifiers import digest_of, new_key, new_key_id, new_project_id, prefix_of, slugs


async def create_project(request: Request[Dependencies]) -> schemas.Project:
    """Make a project. Raises: Conflict if the name is taken."""
    body: schemas.CreateProject = request.body
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        return responses.project(await _create(tx, body.name))


async def _create(tx: Tx, name: str) -> store.ProjectRow:
    for slug in slugs(name):
        made = await store.insert_project(tx, new_project_id(), name, slug)
        if made is not None:
            return made
        there = await store.project_named(tx, name)
        if there is not None:
            gone = " It is revoked, but keeps its name." if there.revoked_at else ""
            raise Conflict(
                f"There is a project '{name}' already: {there.id}.{gone} Choose another name, or use that one.",
                param="name",
                retryable=False,
            )
    raise AssertionError("slugs never end")


async def list_projects(request: Request[Dependencies]) -> schemas.ProjectList:
    """All projects, also revoked and deleted ones."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        projects = await store.list_projects(tx)
        left = await store.left(tx, [each.id for each in projects if each.deleting_at and not each.deleted_at])
        return schemas.ProjectList(data=[responses.project(project, left) for project in projects])


async def revoke_project(request: Request[Dependencies]) -> schemas.Project:
    """Revoke a project: its keys no longer work, its models and files stay. Raises: NotFound."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        return responses.project(await store.revoke_project(tx, request.params["id"]))


async def create_key(request: Request[Dependencies]) -> schemas.Key:
    """Make a key; this is the only response that shows it.

    Raises: NotFound; WrongState if the project is revoked or the member removed; Invalid if it would have expired
    already, or its role were more than its member's.
    """
    body: schemas.CreateKey = request.body
    dependencies = request.dependencies
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise Invalid("'expires_at' is in the past; a key made so could never be used.", param="expires_at")
    async with transaction(dependencies.pool) as tx:
        project = await store.get_project(tx, request.params["id"])
        if body.member_id is not None:
            await _check_member(tx, project.id, body.member_id, body.role)
        key = new_key(project.slug)
        made = await store.insert_key(
            tx,
            key_id=new_key_id(),
            project_id=project.id,
            name=body.name,
            sha256=digest_of(key),
            prefix=prefix_of(key),
            scopes=[scope for scope in ALL_SCOPES if scope in (body.scopes or WHOLE_SCOPES)],
            role=body.role,
            member_id=body.member_id,
            expires_at=body.expires_at,
        )
    if made is None:
        raise WrongState(f"The project '{project.name}' is revoked; a key of it would not work.", retryable=False)
    return responses.key(made, secret=key)


async def _check_member(tx: Tx, project_id: str, member_id: str, role: Role) -> None:
    """That a member may have a key of this role; until the transaction ends nobody changes or removes them."""
    member = await members.lock(tx, project_id, member_id)
    if member is None:
        raise NotFound(f"There is no member '{member_id}' in this project.", param="member_id")
    if member.removed_at is not None:
        raise WrongState(f"The member '{member.name}' has been removed; a key of them would not work.", retryable=False)
    if role == "admin" and member.role != role:
        raise Invalid(
            f"'{member.name}' has the role '{member.role}', and a key of them has at most that: make them an admin "
            "first, or the key one of a member.",
            param="role",
        )


async def list_keys(request: Request[Dependencies]) -> schemas.KeyList:
    """All keys of a project, expired and revoked ones too, without their secrets. Raises: NotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        project = await store.get_project(tx, request.params["id"])
        return schemas.KeyList(data=[responses.key(key) for key in await store.list_keys(tx, project.id)])


async def revoke_key(request: Request[Dependencies]) -> schemas.Key:
    """Revoke a key; from the next request on it is refused. Raises: NotFound."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        return responses.key(await store.revoke_key(tx, request.params["id"], request.params["key_id"]))


_admin = partial(Route, base="root", access=OPERATOR)
_PROJECTS = "/admin/v1/projects"

ROUTES = [
    _admin(
        "POST",
        _PROJECTS,
        create_project,
        summary="Make a project",
        body=schemas.CreateProject,
        returns=schemas.Project,
        status=201,
    ),
    _admin("GET", _PROJECTS, list_projects, summary="List projects", returns=schemas.ProjectList),
    _admin(
        "DELETE",
        f"{_PROJECTS}/{{id}}",
        revoke_project,
        summary="Disable a project and all its keys",
        returns=schemas.Project,
    ),
    _admin(
        "POST",
        f"{_PROJECTS}/{{id}}/keys",
        create_key,
        summary="Make a key",
        body=schemas.CreateKey,
        returns=schemas.Key,
        status=201,
    ),
    _admin("GET", f"{_PROJECTS}/{{id}}/keys", list_keys, summary="List a project's keys", returns=schemas.KeyList),
    _admin(
        "DELETE",
        f"{_PROJECTS}/{{id}}/keys/{{key_id}}",
        revoke_key,
        summary="Revoke a key",
        returns=schemas.Key,
    ),
]
