"""From rows of projects and keys to what the routes answer."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from services.gateway.presentation import timestamp
from services.gateway.projects import schemas
from services.gateway.projects.store import KeyRow, LeftRow, ProjectRow

NOTHING = LeftRow(models=0, objects=0, stored_bytes=0)


def project(row: ProjectRow, left: Mapping[str, LeftRow] | None = None) -> schemas.Project:
    """A project; with what is left of those that are being deleted, by project."""
    rest = (left or {}).get(row.id, NOTHING)
    status = _status(row)
    return schemas.Project(
        id=row.id,
        name=row.name,
        slug=row.slug,
        created_at=timestamp(row.created_at),
        revoked_at=timestamp(row.revoked_at) if row.revoked_at else None,
        status=status,
        deleted_at=timestamp(row.deleted_at) if row.deleted_at else None,
        left=schemas.Left(models=rest.models, objects=rest.objects, bytes=rest.stored_bytes)
        if status == "deleting"
        else None,
    )


def _status(row: ProjectRow) -> schemas.ProjectStatus:
    if row.deleted_at is not None:
        return "deleted"
    if row.deleting_at is not None:
        return "deleting"
    return "active" if row.revoked_at is None else "disabled"


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
