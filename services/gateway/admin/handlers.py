"""What the gateway keeps of other services' events for the operator."""

from __future__ import annotations

from libs.bus import Handlers
from libs.contracts import Event, ObjectAudited
from libs.db import Tx
from services.gateway.admin import store

handlers = Handlers("gateway")


@handlers.on(ObjectAudited)
async def keep_audit(event: ObjectAudited, tx: Tx) -> list[Event]:
    """Keep the audit for the operator, and forget old ones."""
    await store.insert_audit(
        tx,
        store.AuditRow(
            id=event.id,
            at=event.at,
            objects=event.objects,
            size_bytes=event.size_bytes,
            unclaimed=event.unclaimed,
            missing=event.missing,
            foreign_objects=event.foreign,
            stopped=event.stopped,
            keys=event.keys,
            unclaimed_bytes=event.unclaimed_bytes,
            missing_bytes=event.missing_bytes,
            cold_objects=event.cold_objects,
            cold_bytes=event.cold_bytes,
            leftovers=event.leftovers,
            leftover_bytes=event.leftover_bytes,
            misplaced=event.misplaced,
            expiring=event.expiring,
            expiring_bytes=event.expiring_bytes,
        ),
    )
    await store.prune_audits(tx)
    return []
