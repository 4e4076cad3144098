"""The operator's routes for members of a project."""

from __future__ import annotations

from functools import partial

from libs.db import connection, transaction
from libs.errors import Conflict, NotFound, WrongState
from libs.web import Request, Route
from services.gateway.dependencies import Dependencies
from services.gateway.members import schemas, store
from services.gateway.presentation import timestamp
from services.gateway.projects.access import OPERATOR
from services.gateway.projects.identifiers import new_member_id
from services.gateway.projects.store import get_project


async def add_member(request: Request[Dependencies]) -> schemas.Member:
    """Add somebody to a project. Raises: NotFound; Conflict if the name is taken."""
    body: schemas.AddMember = request.body
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        project = await get_project(tx, request.params["id"])
        made = await store.insert(tx, new_member_id(), project.id, body.name, body.role)
    if made is None:
        raise Conflict(
            f"The project has a member '{body.name}' already. Change the role of that one, or choose another name.",
            param="name",
            retryable=False,
        )
    return _member(made)


async def list_members(request: Request[Dependencies]) -> schemas.MemberList:
    """All members of a project, removed ones too. Raises: NotFound."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        project = await get_project(tx, request.params["id"])
        return schemas.MemberList(data=[_member(each) for each in await store.of_project(tx, project.id)])


async def change_member(request: Request[Dependencies]) -> schemas.Member:
    """Give a member a role; their keys have at most that from the next request on. Raises: NotFound; WrongState."""
    body: schemas.ChangeMember = request.body
    dependencies = request.dependencies
    project_id, member_id = request.params["id"], request.params["member_id"]
    async with transaction(dependencies.pool) as tx:
        changed = await store.set_role(tx, project_id, member_id, body.role)
        if changed is None:
            if await store.lock(tx, project_id, member_id) is None:
                raise _no_member(member_id)
            raise WrongState("This member has been removed; add them again.", retryable=False)
    return _member(changed)


async def remove_member(request: Request[Dependencies]) -> schemas.Member:
    """Remove a member and revoke their keys, which are refused from the next request on. Raises: NotFound."""
    dependencies = request.dependencies
    member_id = request.params["member_id"]
    async with transaction(dependencies.pool) as tx:
        removed = await store.remove(tx, request.params["id"], member_id)
        if removed is None:
            raise _no_member(member_id)
        await store.revoke_keys(tx, removed.id)
    return _member(removed)


def _no_member(member_id: str) -> NotFound:
    return NotFound(f"There is no member '{member_id}' in this project.")


def _member(row: store.MemberRow) -> schemas.Member:
    return schemas.Member(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        role=row.role,
        created_at=timestamp(row.created_at),
        removed_at=timestamp(row.removed_at) if row.removed_at else None,
    )


_admin = partial(Route, base="root", access=OPERATOR)
_MEMBERS = "/admin/v1/projects/{id}/members"

ROUTES = [
    _admin(
        "POST",
        _MEMBERS,
        add_member,
        summary="Add a member to a project",
        body=schemas.AddMember,
        returns=schemas.Member,
        status=201,
    ),
    _admin("GET", _MEMBERS, list_members, summary="List a project's members", returns=schemas.MemberList),
    _admin(
        "PATCH",
        f"{_MEMBERS}/{{member_id}}",
        change_member,
        summary="Give a member another role",
        body=schemas.ChangeMember,
        returns=schemas.Member,
    ),
    _admin(
        "DELETE",
        f"{_MEMBERS}/{{member_id}}",
        remove_member,
        summary="Remove a member and revoke their keys",
        returns=schemas.Member,
    ),
]
