"""Bodies and answers of the operator's routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from services.gateway.patterns import NAME
from services.gateway.projects.access import Role, Scope

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=NAME,
        description="a name without control characters, and without space at either end",
    ),
]


class CreateProject(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/projects."""

    name: Name


ProjectStatus = Literal["active", "disabled", "deleting", "deleted"]


class Left(Struct, frozen=True, kw_only=True):
    """What the registry still has of a project that is being deleted; storage may have something longer."""

    models: int
    objects: int
    bytes: int


class Project(Struct, frozen=True, kw_only=True):
    """A project; its slug is in its keys. Times are RFC 3339."""

    id: str
    name: str
    slug: str
    created_at: str
    revoked_at: str | None  # from then on none of its keys works
    status: ProjectStatus
    deleted_at: str | None  # from then on nothing of it is left but this
    left: Left | None = None  # of a project that is being deleted


class ProjectList(Struct, frozen=True, kw_only=True):
    """Every project, in order of creation."""

    data: list[Project]
    object: Literal["list"] = "list"
    has_more: bool = False


class CreateKey(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/projects/{project_id}/keys."""

    name: Name | None = None
    scopes: Annotated[list[Scope], Meta(min_length=1)] | None = None  # all if not given
    role: Role = "member"
    member_id: str | None = None  # whose key it is; it is revoked with them
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None  # never if not given


class Key(Struct, frozen=True, kw_only=True):
    """A key without its secret; `key` itself is answered once, when it is made. Times are RFC 3339."""

    id: str
    key: str | UnsetType = UNSET
    project_id: str
    name: str | None
    prefix: str  # how the key begins
    scopes: list[Scope]
    role: Role  # where it has a member, the member's counts if that is less
    member_id: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class KeyList(Struct, frozen=True, kw_only=True):
    """Every key of a project, in order of creation."""

    data: list[Key]
    object: Literal["list"] = "list"
    has_more: bool = False
