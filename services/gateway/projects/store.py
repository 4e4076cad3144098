"""The SQL of projects and keys; one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import NotFound
from services.gateway.projects.access import Role, Scope


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `project`."""

    id: str
    name: str
    slug: str
    created_at: datetime
    revoked_at: datetime | None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `api_key`, without the digest."""

    id: str
    project_id: str
    name: str | None
    prefix: str
    scopes: list[Scope]
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key it is, and what it may do."""

    key_id: str
    project_id: str
    slug: str
    scopes: list[Scope]


_PROJECT = columns(Project)
_KEY = columns(Key)


async def insert_project(tx: Tx, project_id: str, name: str, slug: str) -> Project | None:
    """Add a project; None if its name or its slug (or, once in an age, its id) is taken."""
    row = await tx.fetchrow(
        f"INSERT INTO project (id, name, slug) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING {_PROJECT}",
        project_id,
        name,
        slug,
    )
    return Project(**row) if row else None


async def project_named(tx: Tx, name: str) -> Project | None:
    """The project of that name."""
    row = await tx.fetchrow(f"SELECT {_PROJECT} FROM project WHERE name = $1", name)
    return Project(**row) if row else None


async def get_project(tx: Tx, project_id: str) -> Project:
    """Raises: NotFound."""
    row = await tx.fetchrow(f"SELECT {_PROJECT} FROM project WHERE id = $1", project_id)
    return Project(**_there(row, "project", project_id))


async def exists(tx: Tx, project_id: str) -> bool:
    """Whether there is such a project, revoked or not."""
    return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM project WHERE id = $1)", project_id))


async def list_projects(tx: Tx) -> list[Project]:
    """All of them, in order of creation."""
    return [Project(**row) for row in await tx.fetch(f"SELECT {_PROJECT} FROM project ORDER BY serial")]


async def revoke_project(tx: Tx, project_id: str) -> Project:
    """End a project's keys from now on; a second time changes nothing. Raises: NotFound."""
    row = await tx.fetchrow(
        f"UPDATE project SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {_PROJECT}",
        project_id,
    )
    return Project(**_there(row, "project", project_id))


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
    expires_at: datetime | None,
) -> Key | None:
    """Add a key to a project that is there and not revoked; None if there is no such project."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO api_key (id, project_id, name, sha256, prefix, scopes, role, expires_at)
        SELECT $1, id, $3, $4, $5, $6, $7, $8
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
        expires_at,
    )
    return Key(**row) if row else None


async def list_keys(tx: Tx, project_id: str) -> list[Key]:
    """All keys of a project, in order of creation, the expired and revoked ones too."""
    rows = await tx.fetch(f"SELECT {_KEY} FROM api_key WHERE project_id = $1 ORDER BY serial", project_id)
    return [Key(**row) for row in rows]


async def revoke_key(tx: Tx, project_id: str, key_id: str) -> Key:
    """End a key from now on; a second time changes nothing. Raises: NotFound."""
    row = await tx.fetchrow(
        f"""
        UPDATE api_key SET revoked_at = coalesce(revoked_at, now())
         WHERE project_id = $1 AND id = $2
        RETURNING {_KEY}
        """,
        project_id,
        key_id,
    )
    return Key(**_there(row, "key", key_id))


async def holders(tx: Tx, digests: Sequence[bytes]) -> dict[bytes, Holder]:
    """By SHA-256 of the key, who holds it; without those that are unknown, expired or revoked, or their project is."""
    rows = await tx.fetch(
        """
        SELECT api_key.sha256, api_key.id AS key_id, project.id AS project_id, project.slug, api_key.scopes
          FROM api_key JOIN project ON project.id = api_key.project_id
         WHERE api_key.sha256 = ANY ($1)
           AND api_key.revoked_at IS NULL
           AND (api_key.expires_at IS NULL OR api_key.expires_at > now())
           AND project.revoked_at IS NULL
        """,
        list(digests),
    )
    return {
        row["sha256"]: Holder(
            key_id=row["key_id"],
            project_id=row["project_id"],
            slug=row["slug"],
            scopes=row["scopes"],
        )
        for row in rows
    }


def _there(row: Any, what: str, name: str) -> Any:
    if row is None:
        raise NotFound(f"There is no {what} '{name}'.")
    return row
