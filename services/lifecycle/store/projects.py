"""Projects that an event has named. Only their objects may be asked about or deleted; some were deleted themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from libs.db import Tx


async def add(tx: Tx, project_id: str) -> None:
    """Record a project, if it is not recorded."""
    await tx.execute("INSERT INTO project (id) VALUES ($1) ON CONFLICT DO NOTHING", project_id)


async def known(tx: Tx, project_ids: Iterable[str]) -> set[str]:
    """Those of `project_ids` that belong to this installation."""
    rows = await tx.fetch("SELECT id FROM project WHERE id = ANY($1)", list(project_ids))
    return {row["id"] for row in rows}


async def delete(tx: Tx, project_id: str, at: datetime) -> None:
    """Record that a project was deleted."""
    await tx.execute(
        """
        INSERT INTO project (id, deleted_at) VALUES ($1, $2)
            ON CONFLICT (id) DO UPDATE SET deleted_at = coalesce(project.deleted_at, excluded.deleted_at)
        """,
        project_id,
        at,
    )


async def is_deleted(tx: Tx, project_id: str) -> bool:
    """Whether the project was deleted. Until this transaction ends, it is not, if it was not before."""
    deleted: bool | None = await tx.fetchval(
        "SELECT deleted_at IS NOT NULL FROM project WHERE id = $1 FOR SHARE", project_id
    )
    return bool(deleted)
