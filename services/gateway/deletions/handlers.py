"""What the deletion of a project does about each event."""

from __future__ import annotations

from libs.bus import Handlers
from libs.contracts import Event, ProjectPurged
from libs.db import Tx
from services.gateway.deletions import store

handlers = Handlers("gateway")


@handlers.on(ProjectPurged)
async def record_purge(event: ProjectPurged, tx: Tx) -> list[Event]:
    """Record that storage has nothing of the project any more; the next sweep removes what is left of it here."""
    await store.purged(tx, event.project_id)
    return []
