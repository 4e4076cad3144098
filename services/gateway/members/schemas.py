"""Bodies and answers of the operator's routes for members. Times are RFC 3339."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from services.gateway.patterns import NAME
from services.gateway.projects.access import Role

MemberName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=254,
        pattern=NAME,
        description="a person's name or e-mail address, without control characters and without space at either end",
    ),
]


class AddMember(Struct, frozen=True, kw_only=True):
    """POST /admin/v1/projects/{project_id}/members."""

    name: MemberName
    role: Role = "member"


class ChangeMember(Struct, frozen=True, kw_only=True):
    """PATCH /admin/v1/projects/{project_id}/members/{member_id}."""

    role: Role


class Member(Struct, frozen=True, kw_only=True):
    """Somebody who works in a project; from `removed_at` on none of their keys works."""

    id: str
    project_id: str
    name: str
    role: Role
    created_at: str
    removed_at: str | None


class MemberList(Struct, frozen=True, kw_only=True):
    """Every member of a project, removed ones too, in order of creation."""

    data: list[Member]
    object: Literal["list"] = "list"
    has_more: bool = False
