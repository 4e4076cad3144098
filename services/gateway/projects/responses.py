"""From rows of projects and keys to what the routes answer."""

from __future__ import annotations

from msgspec import UNSET

from services.gateway.presentation import timestamp
from services.gateway.projects import schemas
from services.gateway.projects.store import KeyRow, ProjectRow


def project(row: ProjectRow) -> schemas.Project:
    """A project."""
    return schemas.Project(
        id=row.id,
        name=row.name,
        slug=row.slug,
        created_at=timestamp(row.created_at),
        revoked_at=timestamp(row.revoked_at) if row.revoked_at else None,
    )


def key(row: KeyRow, *, secret: str | None = None) -> schemas.Key:
    """A key; `secret` is the key itself, which is shown once, when it is made."""
    return schemas.Key(
        id=row.id,
        key=secret or UNSET,
        project_id=row.project_id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        role=row.role,
        member_id=row.member_id,
        created_at=timestamp(row.created_at),
        expires_at=timestamp(row.expires_at) if row.expires_at else None,
        revoked_at=timestamp(row.revoked_at) if row.revoked_at else None,
    )
