"""The SQL of projects and keys; one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import NotFound
from services.gateway.limits.terms import OwnLimits
from services.gateway.projects.access import Role, Scope


class ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `project`."""

    id: str
    name: str
    slug: str
    created_at: datetime
    revoked_at: datetime | None
    deleting_at: datetime | None
    deleted_at: datetime | None


class LeftRow(msgspec.Struct, frozen=True, kw_only=True):
    """What there still is of a project that is being deleted."""

    models: int
    objects: int
    stored_bytes: int


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `api_key`, without the digest."""

    id: str
    project_id: str
    name: str | None
    prefix: str
    scopes: list[Scope]
    role: Role
    member_id: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its member and its project, as authentication needs them."""

    key_id: str
    project_id: str
    slug: str
    scopes: list[Scope]
    role: Role  # the lesser of the key's and its member's
    features: list[str]  # of the project
    limits: OwnLimits  # of the project
    key_limits: OwnLimits


_PROJECT = columns(ProjectRow)
_KEY = columns(KeyRow)


async def insert_project(tx: Tx, project_id: str, name: str, slug: str) -> ProjectRow | None:
    """Insert a project; None if its name, its slug or (very unlikely) its id is taken."""
    row = await tx.fetchrow(
        f"INSERT INTO project (id, name, slug) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING {_PROJECT}",
        project_id,
        name,
        slug,
    )
    return ProjectRow(**row) if row else None


async def project_named(tx: Tx, name: str) -> ProjectRow | None:
    """The project of that name."""
    row = await tx.fetchrow(f"SELECT {_PROJECT} FROM project WHERE name = $1 AND deleted_at IS NULL", name)
    return ProjectRow(**row) if row else None


async def get_project(tx: Tx, project_id: str) -> ProjectRow:
    """A project, also one that is being deleted. Raises: NotFound, also for a deleted one."""
    row = await tx.fetchrow(f"SELECT {_PROJECT} FROM project WHERE id = $1 AND deleted_at IS NULL", project_id)
    return ProjectRow(**_there(row, "project", project_id))


async def exists(tx: Tx, project_id: str) -> bool:
    """Whether there is such a project, revoked or not."""
    return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM project WHERE id = $1)", project_id))


async def list_projects(tx: Tx) -> list[ProjectRow]:
    """All projects, in order of creation."""
    return [ProjectRow(**row) for row in await tx.fetch(f"SELECT {_PROJECT} FROM project ORDER BY serial")]


async def left(tx: Tx, project_ids: Sequence[str]) -> dict[str, LeftRow]:
    """What there still is in the registry of these projects, by project."""
    rows = await tx.fetch(
        """
        SELECT project_id, sum(models)::bigint AS models, sum(objects)::bigint AS objects,
               sum(stored_bytes)::bigint AS stored_bytes
          FROM (SELECT project_id, models, objects, stored_bytes FROM project_usage WHERE project_id = ANY ($1)
                 UNION ALL
                SELECT project_id, models, objects, stored_bytes FROM project_usage_change
                 WHERE project_id = ANY ($1)) AS every
         GROUP BY project_id
        """,
        list(project_ids),
    )
    return {
        row["project_id"]: LeftRow(models=row["models"], objects=row["objects"], stored_bytes=row["stored_bytes"])
        for row in rows
    }


async def revoke_project(tx: Tx, project_id: str) -> ProjectRow:
    """Revoke a project, and so all its keys; a second call changes nothing. Raises: NotFound."""
    row = await tx.fetchrow(
        f"UPDATE project SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {_PROJECT}",
        project_id,
    )
    return ProjectRow(**_there(row, "project", project_id))


async def insert_key(
    tx: Tx,
    *,
    key_id: str,
    project_id: str,
    name: str | None,
    sha256: bytes,
    prefix: str,
    scopes: list[Scope],
    role: Role,
    member_id: str | None,
    expires_at: datetime | None,
) -> KeyRow | None:
    """Insert a key of a project; None if there is no such project, or it is revoked."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO api_key (id, project_id, name, sha256, prefix, scopes, role, member_id, expires_at)
        SELECT $1, id, $3, $4, $5, $6, $7, $8, $9
          FROM project
         WHERE id = $2 AND revoked_at IS NULL
        RETURNING {_KEY}
        """,
        key_id,
        project_id,
        name,
        sha256,
        prefix,
        scopes,
        role,
        member_id,
        expires_at,
    )
    return KeyRow(**row) if row else None


async def list_keys(tx: Tx, project_id: str) -> list[KeyRow]:
    """All keys of a project, in order of creation, the expired and revoked ones too."""
    rows = await tx.fetch(f"SELECT {_KEY} FROM api_key WHERE project_id = $1 ORDER BY serial", project_id)
    return [KeyRow(**row) for row in rows]


async def revoke_key(tx: Tx, project_id: str, key_id: str) -> KeyRow:
    """Revoke a key; a second call changes nothing. Raises: NotFound."""
    row = await tx.fetchrow(
        f"""
        UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
         WHERE project_id = $1 AND id = $2
        RETURNING {_KEY}
        """,
        project_id,
        key_id,
    )
    return KeyRow(**_there(row, "key", key_id))


async def holders(tx: Tx, digests: Sequence[bytes]) -> dict[bytes, Holder]:
    """The holders of keys by SHA-256.

    Keys that are unknown, expired or revoked are left out, and those whose project is revoked, or whose member removed.
    """
    # Of `ANY ($1)` Postgres would see how many they are and plan anew for every request, which takes longer than this
    rows = await tx.fetch(
        """
        SELECT api_key.sha256, api_key.id AS key_id, project.id AS project_id, project.slug, api_key.scopes,
               CASE WHEN member.role = 'member' THEN 'member' ELSE api_key.role END AS role,
               ARRAY(SELECT feature FROM project_feature WHERE project_feature.project_id = project.id) AS features,
               project.limits, api_key.limits AS key_limits
          FROM api_key
          JOIN project ON project.id = api_key.project_id
          LEFT JOIN member ON member.id = api_key.member_id
         WHERE api_key.sha256 = ANY ((SELECT $1::bytea[])::bytea[])
           AND api_key.revoked_at IS NULL
           AND (api_key.expires_at IS NULL OR api_key.expires_at > now())
           AND project.revoked_at IS NULL
           AND member.removed_at IS NULL
        """,
        list(digests),
    )
    return {
        row["sha256"]: Holder(
            key_id=row["key_id"],
            project_id=row["project_id"],
            slug=row["slug"],
            scopes=row["scopes"],
            role=row["role"],
            features=row["features"],
            limits=row["limits"],
            key_limits=row["key_limits"],
        )
        for row in rows
    }


def _there(row: Any, what: str, name: str) -> Any:
    if row is None:
        raise NotFound(f"There is no {what} '{name}'.")
    return row
