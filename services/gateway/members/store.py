"""The SQL of members; one function a statement."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx, columns
from services.gateway.projects.access import Role


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `member`."""

    id: str
    project_id: str
    name: str
    role: Role
    created_at: datetime
    removed_at: datetime | None


_MEMBER = columns(MemberRow)


async def insert(tx: Tx, member_id: str, project_id: str, name: str, role: Role) -> MemberRow | None:
    """Insert a member; None if the project has one of that name who is not removed."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO member (id, project_id, name, role) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING {_MEMBER}
        """,
        member_id,
        project_id,
        name,
        role,
    )
    return MemberRow(**row) if row else None


async def of_project(tx: Tx, project_id: str) -> list[MemberRow]:
    """All members of a project, in order of creation, the removed ones too."""
    rows = await tx.fetch(f"SELECT {_MEMBER} FROM member WHERE project_id = $1 ORDER BY serial", project_id)
    return [MemberRow(**row) for row in rows]


async def lock(tx: Tx, project_id: str, member_id: str) -> MemberRow | None:
    """A member of the project, who is neither changed nor removed until the transaction ends."""
    row = await tx.fetchrow(
        f"SELECT {_MEMBER} FROM member WHERE id = $2 AND project_id = $1 FOR SHARE", project_id, member_id
    )
    return MemberRow(**row) if row else None


async def set_role(tx: Tx, project_id: str, member_id: str, role: Role) -> MemberRow | None:
    """Give a member a role; None if there is no such member, or they are removed."""
    row = await tx.fetchrow(
        f"""
        UPDATE member SET role = $3 WHERE id = $2 AND project_id = $1 AND removed_at IS NULL RETURNING {_MEMBER}
        """,
        project_id,
        member_id,
        role,
    )
    return MemberRow(**row) if row else None


async def remove(tx: Tx, project_id: str, member_id: str) -> MemberRow | None:
    """Remove a member; a second call changes nothing. None if there is no such member."""
    row = await tx.fetchrow(
        f"""
        UPDATE member SET removed_at = coalesce(removed_at, now()) WHERE id = $2 AND project_id = $1
        RETURNING {_MEMBER}
        """,
        project_id,
        member_id,
    )
    return MemberRow(**row) if row else None


async def revoke_keys(tx: Tx, member_id: str) -> None:
    """Revoke every key of a member."""
    await tx.execute("UPDATE api_key SET revoked_at = now() WHERE member_id = $1 AND revoked_at IS NULL", member_id)
