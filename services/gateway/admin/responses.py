"""From rows of audits and of what is parked to what the routes answer."""

from __future__ import annotations

from services.gateway.admin import schemas
from services.gateway.admin.store import AuditRow, ParkedRow
from services.gateway.presentation import timestamp


def audit(row: AuditRow) -> schemas.Audit:
    """An audit; its time has fractions of a second."""
    return schemas.Audit(
        id=row.id,
        at=row.at.isoformat(),
        objects=row.objects,
        size_bytes=row.size_bytes,
        unclaimed=row.unclaimed,
        missing=row.missing,
        foreign=row.foreign_objects,
        stopped=row.stopped,
        keys=row.keys,
        unclaimed_bytes=row.unclaimed_bytes,
        missing_bytes=row.missing_bytes,
        cold_objects=row.cold_objects,
        cold_bytes=row.cold_bytes,
        leftovers=row.leftovers,
        leftover_bytes=row.leftover_bytes,
        misplaced=row.misplaced,
        expiring=row.expiring,
        expiring_bytes=row.expiring_bytes,
    )


def parked(kind: schemas.Kind, row: ParkedRow) -> schemas.Parked:
    """An upload or a model that is parked."""
    return schemas.Parked(
        kind=kind,
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        version=row.version,
        waiting_for=row.waiting_for,
        since=timestamp(row.since),
    )
