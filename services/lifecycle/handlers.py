"""What lifecycle does about each event: rows, and a signal to whoever works on them."""

from __future__ import annotations

import logging

from libs.bus import Handlers
from libs.contracts import Event, ModelRegistered, ObjectDropped, UploadAborted, UploadExpired, UploadFailed, event_type
from libs.contracts.keys import objects_prefix, parts_prefix
from libs.db import Tx
from libs.errors import Invalid
from libs.signals import notify
from services.lifecycle.store import objects, purges

PURGES = "purge"  # the channel

log = logging.getLogger(__name__)

handlers = Handlers("lifecycle")


@handlers.on(ModelRegistered)
async def keep_registered(event: ModelRegistered, tx: Tx) -> list[Event]:
    """The model's objects are live; whatever else its upload left is purged.

    Early or repeated, it does not bring a dropped object back (see the package's docstring).
    """
    live = await objects.register(tx, event.project_id, event.files, at=event.at)
    await objects.refer(tx, sorted(live), "model", event.model_id)
    gone = sorted({file.key for file in event.files} - live)
    if gone:
        # The usual reason is harmless: the model was deleted again, and that news was faster.
        log.warning("registered objects were dropped before", extra={"model_id": event.model_id, "keys": gone})
    await _purge_upload(event, tx)
    return []


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def purge_ended_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Nothing that the upload brought will be registered: its parts go, and its files."""
    await _purge_upload(event, tx)
    return []


@handlers.on(ObjectDropped)
async def purge_dropped(event: ObjectDropped, tx: Tx) -> list[Event]:
    """Nothing in the registry refers to these objects: whatever reference was recorded goes too, and the objects.

    Raises: Invalid for a key of another project.
    """
    foreign = [key for key in event.keys if not key.startswith(f"{event.project_id}/")]
    if foreign:
        raise Invalid(f"{foreign[0]} does not belong to project {event.project_id}; nothing of the event was done.")
    await objects.drop(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await objects.release(tx, event.keys)
    await purges.schedule_keys(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await notify(tx, PURGES)
    return []


async def _purge_upload(event: ModelRegistered | UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> None:
    prefixes = [parts_prefix(event.project_id, event.upload_id), objects_prefix(event.project_id, event.upload_id)]
    await purges.schedule_prefixes(tx, event.project_id, prefixes, reason=event_type(event), at=event.at)
    await notify(tx, PURGES)
