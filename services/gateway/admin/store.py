"""Statements on `audit`, and those that show what is parked; one function a statement."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx, columns

KEPT = 20  # audits


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `audit`."""

    id: str
    at: datetime
    objects: int
    size_bytes: int
    unclaimed: int
    missing: int
    foreign_objects: int
    stopped: str | None
    keys: list[str]


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """An upload or a model that goes on when what it waits for is there."""

    id: str
    project_id: str
    name: str
    version: str
    waiting_for: str | None
    since: datetime


_AUDIT = columns(Audit)


async def insert_audit(tx: Tx, audit: Audit) -> None:
    """Add an audit."""
    await tx.execute(
        f"INSERT INTO audit ({_AUDIT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        *msgspec.structs.astuple(audit),
    )


async def prune_audits(tx: Tx) -> None:
    """Remove all but the last `KEPT`."""
    await tx.execute("DELETE FROM audit WHERE at < (SELECT at FROM audit ORDER BY at DESC OFFSET $1 LIMIT 1)", KEPT - 1)


async def audits(tx: Tx) -> list[Audit]:
    """Those that are kept, the last one first."""
    return [Audit(**row) for row in await tx.fetch(f"SELECT {_AUDIT} FROM audit ORDER BY at DESC LIMIT $1", KEPT)]


async def parked_models(tx: Tx, limit: int) -> list[Parked]:
    """Models that wait for their verdict and say for what, those that have waited longest first."""
    rows = await tx.fetch(
        """
        SELECT id, project_id, name, version, status_reason AS waiting_for, parked_since AS since
          FROM model WHERE status = 'validating' AND parked_since IS NOT NULL
         ORDER BY parked_since LIMIT $1
        """,
        limit,
    )
    return [Parked(**row) for row in rows]


async def parked_uploads(tx: Tx, limit: int) -> list[Parked]:
    """Uploads of which a stream cannot be unpacked now, with what one of them waits for; as `parked_models`."""
    rows = await tx.fetch(
        """
        SELECT u.id, u.project_id, u.model_name AS name, u.model_version AS version,
               min(s.waiting_for) AS waiting_for, coalesce(min(s.parked_at), u.created_at) AS since
          FROM upload_stream s JOIN upload u ON u.id = s.upload_id
         WHERE s.waiting_for IS NOT NULL AND NOT s.unpacked AND u.status IN ('open', 'processing')
         GROUP BY u.id ORDER BY since LIMIT $1
        """,
        limit,
    )
    return [Parked(**row) for row in rows]
