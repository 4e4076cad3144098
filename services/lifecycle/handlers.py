"""What lifecycle does about each event: rows, and a signal to whoever works on them."""

from __future__ import annotations

import logging

from libs.bus import Handlers
from libs.contracts import (
    Event,
    ModelRegistered,
    ObjectAuditRequested,
    ObjectDropped,
    UploadAborted,
    UploadExpired,
    UploadFailed,
    event_type,
)
from libs.contracts.keys import objects_prefix, parts_prefix
from libs.db import Tx
from libs.errors import Invalid
from libs.signals import notify
from services.lifecycle.store import objects, projects, purges, reconciliation

# Channels
PURGES = "purge"
AUDITS = "reconcile"

log = logging.getLogger(__name__)

handlers = Handlers("lifecycle")


@handlers.on(ModelRegistered)
async def keep_registered(event: ModelRegistered, tx: Tx) -> list[Event]:
    """The model's objects are live; whatever else its upload left is purged.

    Early or repeated, it does not bring a dropped object back (see the package's docstring).
    """
    await projects.add(tx, event.project_id)
    live = await objects.register(tx, event.project_id, event.files, at=event.at)
    await objects.add_references(tx, sorted(live), "model", event.model_id)
    gone = sorted({file.key for file in event.files} - live)
    if gone:
        # The usual reason is harmless: the model was deleted again, and the event that says so came first.
        log.warning("registered objects were dropped before", extra={"model_id": event.model_id, "keys": gone})
    await _purge_upload(event, tx)
    return []


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def purge_ended_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Nothing that the upload brought will be registered: its parts go, and its files."""
    await projects.add(tx, event.project_id)
    await _purge_upload(event, tx)
    return []


@handlers.on(ObjectDropped)
async def purge_dropped(event: ObjectDropped, tx: Tx) -> list[Event]:
    """Nothing in the registry refers to these objects: they are purged, and their references go.

    Raises: Invalid for a key of another project.
    """
    foreign = [key for key in event.keys if not key.startswith(f"{event.project_id}/")]
    if foreign:
        raise Invalid(f"{foreign[0]} does not belong to project {event.project_id}; nothing of the event was done.")
    await projects.add(tx, event.project_id)
    await objects.drop(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await objects.remove_references(tx, event.keys)
    await purges.schedule_keys(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await notify(tx, PURGES)
    return []


@handlers.on(ObjectAuditRequested)
async def begin_audit(event: ObjectAuditRequested, tx: Tx) -> list[Event]:
    """Storage is compared now; one that is under way begins again. With `fix` it does not stop for an operator."""
    await reconciliation.request(tx, fix=event.fix)
    await notify(tx, AUDITS)
    return []


async def _purge_upload(event: ModelRegistered | UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> None:
    prefixes = [parts_prefix(event.project_id, event.upload_id), objects_prefix(event.project_id, event.upload_id)]
    await purges.schedule_prefixes(tx, event.project_id, prefixes, reason=event_type(event), at=event.at)
    await notify(tx, PURGES)
