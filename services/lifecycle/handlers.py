"""Handlers of lifecycle's events: each records rows, and signals the worker that acts on them."""

from __future__ import annotations

import logging

from libs.bus import Handlers
from libs.contracts import (
    Event,
    ModelDeleted,
    ModelErased,
    ModelRegistered,
    ModelRestored,
    ObjectAuditRequested,
    ObjectDropped,
    ProjectDeleted,
    UploadAborted,
    UploadExpired,
    UploadFailed,
    event_type,
)
from libs.contracts.keys import objects_prefix, parts_prefix, project_prefix
from libs.db import Tx
from libs.errors import Invalid
from libs.signals import notify
from services.lifecycle.store import audits, holders, objects, projects, purges

MODEL = "model"  # the kind of holder

log = logging.getLogger(__name__)

handlers = Handlers("lifecycle")


@handlers.on(ModelRegistered)
async def keep_registered(event: ModelRegistered, tx: Tx) -> list[Event]:
    """Record the model's objects as live, and purge everything else of its upload.

    Does not bring a dropped object back when it arrives late or twice (see the package's docstring), nor anything of a
    project that was deleted.
    """
    await projects.add(tx, event.project_id)
    if await projects.is_deleted(tx, event.project_id):
        await _purge_upload(event, tx)
        return []
    live = await objects.register(tx, event.project_id, event.files, at=event.at)
    if await holders.add(tx, event.model_id, MODEL):
        await objects.add_references(tx, sorted(live), MODEL, event.model_id)
    gone = sorted({file.key for file in event.files} - live)
    if gone:
        # Usually harmless: the model was deleted again, and that event arrived first.
        log.warning("registered objects were dropped before", extra={"model_id": event.model_id, "keys": gone})
    await _purge_upload(event, tx)
    return []


@handlers.on(ModelDeleted)
async def end_references(event: ModelDeleted, tx: Tx) -> list[Event]:
    """Record that the model has its objects only until it is erased. They stay: it can be restored."""
    await holders.end(tx, event.model_id, MODEL, until=event.erase_at, at=event.at)
    return []


@handlers.on(ModelRestored)
async def keep_references(event: ModelRestored, tx: Tx) -> list[Event]:
    """Record that the model has its objects without an end, as before it was deleted."""
    await holders.end(tx, event.model_id, MODEL, until=None, at=event.at)
    return []


@handlers.on(ModelErased)
async def remove_references(event: ModelErased, tx: Tx) -> list[Event]:
    """Remove the model's references. The objects that no other model has go with object.dropped, not with this."""
    await holders.erase(tx, event.model_id, MODEL, at=event.at)
    await holders.remove_references(tx, event.model_id, MODEL)
    return []


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def purge_ended_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Purge the parts and files of an upload that ended without a model."""
    await projects.add(tx, event.project_id)
    await _purge_upload(event, tx)
    return []


@handlers.on(ObjectDropped)
async def purge_dropped(event: ObjectDropped, tx: Tx) -> list[Event]:
    """Purge objects that no model has any more.

    Raises: Invalid for a key of another project.
    """
    foreign = [key for key in event.keys if not key.startswith(f"{event.project_id}/")]
    if foreign:
        raise Invalid(f"{foreign[0]} does not belong to project {event.project_id}; nothing of the event was done.")
    await projects.add(tx, event.project_id)
    await objects.drop(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await objects.remove_references(tx, event.keys)
    await purges.schedule_keys(tx, event.project_id, event.keys, reason=event.reason, at=event.at)
    await notify(tx, purges.CHANNEL)
    return []


@handlers.on(ProjectDeleted)
async def purge_project(event: ProjectDeleted, tx: Tx) -> list[Event]:
    """Purge everything of a deleted project, whatever was live of it; also when that was done before."""
    await projects.delete(tx, event.project_id, event.at)
    prefixes = [project_prefix(event.project_id)]
    await purges.schedule_prefixes(tx, event.project_id, prefixes, reason=event_type(event), at=event.at)
    await notify(tx, purges.CHANNEL)
    return []


@handlers.on(ObjectAuditRequested)
async def begin_audit(event: ObjectAuditRequested, tx: Tx) -> list[Event]:
    """Begin an audit now, also if one is under way. With `fix` it does not stop for an operator."""
    await audits.request(tx, fix=event.fix)
    await notify(tx, audits.CHANNEL)
    return []


async def _purge_upload(event: ModelRegistered | UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> None:
    prefixes = [parts_prefix(event.project_id, event.upload_id), objects_prefix(event.project_id, event.upload_id)]
    await purges.schedule_prefixes(tx, event.project_id, prefixes, reason=event_type(event), at=event.at)
    await notify(tx, purges.CHANNEL)
