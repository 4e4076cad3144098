"""The SQL of features; one function a statement."""

from __future__ import annotations

from datetime import datetime

from libs.db import Tx


async def of_project(tx: Tx, project_id: str) -> dict[str, datetime]:
    """The features that a project has, and since when; also some that only the next release knows."""
    rows = await tx.fetch("SELECT feature, enabled_at FROM project_feature WHERE project_id = $1", project_id)
    return {row["feature"]: row["enabled_at"] for row in rows}


async def enable(tx: Tx, project_id: str, feature: str) -> datetime:
    """Switch a feature on; a second call changes nothing. Returns since when it is on."""
    enabled_at: datetime = await tx.fetchval(
        """
        INSERT INTO project_feature (project_id, feature) VALUES ($1, $2)
        ON CONFLICT (project_id, feature) DO UPDATE SET enabled_at = project_feature.enabled_at
        RETURNING enabled_at
        """,
        project_id,
        feature,
    )
    return enabled_at


async def disable(tx: Tx, project_id: str, feature: str) -> None:
    """Switch a feature off; nothing if it is off."""
    await tx.execute("DELETE FROM project_feature WHERE project_id = $1 AND feature = $2", project_id, feature)
