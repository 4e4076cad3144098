"""Projects that an event has named. Only their objects may be asked about or deleted."""

from __future__ import annotations

from collections.abc import Iterable

from libs.db import Tx


async def add(tx: Tx, project_id: str) -> None:
    """Record a project, if it is not recorded."""
    await tx.execute("INSERT INTO project (id) VALUES ($1) ON CONFLICT DO NOTHING", project_id)


async def known(tx: Tx, project_ids: Iterable[str]) -> set[str]:
    """Those of `project_ids` that belong to this installation."""
    rows = await tx.fetch("SELECT id FROM project WHERE id = ANY($1)", list(project_ids))
    return {row["id"] for row in rows}
