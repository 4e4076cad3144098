"""Statements on `audit`, and those that show what is parked; one function a statement."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx, columns
from libs.states import sql_in
from services.gateway.models.states import VALIDATING
from services.gateway.uploads.states import LIVE

KEPT = 20  # audits


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
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
    unclaimed_bytes: int
    missing_bytes: int
    cold_objects: int
    cold_bytes: int
    leftovers: int
    leftover_bytes: int
    misplaced: int
    expiring: int
    expiring_bytes: int


class ParkedRow(msgspec.Struct, frozen=True, kw_only=True):
    """An upload or a model that waits for something which its client cannot do."""

    id: str
    project_id: str
    name: str
    version: str
    waiting_for: str | None
    since: datetime


_AUDIT = columns(AuditRow)
_AUDIT_VALUES = ", ".join(f"${number}" for number, _ in enumerate(AuditRow.__struct_fields__, start=1))


async def insert_audit(tx: Tx, audit: AuditRow) -> None:
    """Insert an audit; nothing if it is there."""
    await tx.execute(
        f"INSERT INTO audit ({_AUDIT}) VALUES ({_AUDIT_VALUES}) ON CONFLICT DO NOTHING",
        *msgspec.structs.astuple(audit),
    )


async def prune_audits(tx: Tx) -> None:
    """Delete all but the last `KEPT`."""
    await tx.execute("DELETE FROM audit WHERE at < (SELECT at FROM audit ORDER BY at DESC OFFSET $1 LIMIT 1)", KEPT - 1)


async def audits(tx: Tx) -> list[AuditRow]:
    """All audits that are kept, the last one first."""
    return [AuditRow(**row) for row in await tx.fetch(f"SELECT {_AUDIT} FROM audit ORDER BY at DESC LIMIT $1", KEPT)]


async def parked_models(tx: Tx, limit: int) -> list[ParkedRow]:
    """Models whose verdict is parked, the longest waiting first."""
    rows = await tx.fetch(
        f"""
        SELECT id, project_id, name, version, status_reason AS waiting_for, parked_since AS since
          FROM model WHERE status = {VALIDATING!r} AND parked_since IS NOT NULL
         ORDER BY parked_since LIMIT $1
        """,
        limit,
    )
    return [ParkedRow(**row) for row in rows]


async def parked_uploads(tx: Tx, limit: int) -> list[ParkedRow]:
    """Uploads with a parked stream, and what one of these waits for; the longest waiting first."""
    rows = await tx.fetch(
        f"""
        SELECT u.id, u.project_id, u.model_name AS name, u.model_version AS version,
               min(s.waiting_for) AS waiting_for, coalesce(min(s.parked_at), u.created_at) AS since
          FROM upload_stream s JOIN upload u ON u.id = s.upload_id
         WHERE s.waiting_for IS NOT NULL AND NOT s.unpacked AND u.status {sql_in(LIVE)}
         GROUP BY u.id ORDER BY since LIMIT $1
        """,
        limit,
    )
    return [ParkedRow(**row) for row in rows]
