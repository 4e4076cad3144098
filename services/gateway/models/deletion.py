"""Deletion: a model is invisible at once, can be restored for a while, and is then erased with what only it refers to.

Every function works in the caller's transaction; those that return events leave it to the caller to emit them with it.
Locks are taken in one order: an upload, a name, contents, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.contracts import Event, ModelDeleted, ModelErased, ModelRestored, ObjectDropped
from libs.db import Tx
from libs.errors import Conflict, ModelNotFound
from services.gateway.models.states import USABLE, VALIDATING
from services.gateway.models.store import deletion, models, validations
from services.gateway.models.store import files as model_files
from services.gateway.models.store.deletion import Deleted, DeletedRow, RestoredRow
from services.gateway.models.store.models import VersionRow
from services.gateway.models.transitions import compare_with_storage, discard, validation_requested
from services.gateway.uploads import transitions as upload_transitions
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import pruning, uploads

KEYS_AT_ONCE = 500  # in one event

NOT_RESTORABLE = (
    "No deleted model of this project has this id, or its time has passed; GET models?deleted=true lists them."
)


async def delete(
    tx: Tx, project_id: str, id_or_name: str, *, by: str, at: datetime, erase_at: datetime
) -> tuple[Deleted, list[Event]]:
    """DELETE the model, or the latest version of the name; the newest usable version left becomes the latest.

    A model whose upload is open goes at once with its upload, which is aborted.
    Returns what became of the model, and the events.
    Emits: ModelDeleted; or UploadAborted.
    Raises: ModelNotFound.
    """
    model = await models.get(tx, project_id, id_or_name, DeletedRow)
    gone = Deleted(model_id=model.id, version=model.version, restorable_until=None)
    aborted = await _abort_upload(tx, model.id, at)
    await models.lock_name(tx, model.id)
    if await deletion.delete(tx, model.id, by=by, at=at, erase_at=erase_at) is None:
        if not await discard(tx, model.id) and not aborted:
            raise ModelNotFound
        return gone, aborted
    await models.ensure_latest(tx, project_id, model.name)
    deleted = ModelDeleted(model_id=model.id, project_id=project_id, erase_at=erase_at, at=at)
    return Deleted(model_id=model.id, version=model.version, restorable_until=erase_at), [*aborted, deleted]


async def restore(tx: Tx, project_id: str, model_id: str, *, at: datetime) -> list[Event]:
    """RESTORE a deleted model; a verdict that it waited for is asked for anew.

    It is the latest of its name again, unless a newer version that can be used is. One whose files storage has lost
    meanwhile is in error for that, as if it had not been deleted. Nothing for a model that is not deleted.
    Emits: ModelRestored, ModelValidationRequested.
    Raises: ModelNotFound, also if its time has passed; Conflict if its version exists anew.
    """
    model = await deletion.get(tx, project_id, model_id, at)
    if model is None:
        return await _restored_before(tx, project_id, model_id)
    await models.lock_name(tx, model.id)
    other = await deletion.taken(tx, model)
    if other is not None and other != model.id:
        raise Conflict(
            f"Version {model.version} of model {model.name!r} was uploaded anew (model {other}); delete that one "
            "before this one is restored.",
            retryable=False,
        )
    restored = await deletion.restore(tx, model.id, at)
    if restored is None:
        return await _restored_before(tx, project_id, model_id)
    await compare_with_storage(tx, [model.id], at)
    status = await models.status_of(tx, model.id)
    if status in USABLE:
        await models.become_latest(tx, restored)
    else:
        await models.ensure_latest(tx, project_id, model.name)
    events: list[Event] = [ModelRestored(model_id=model.id, project_id=project_id, at=at)]
    if status == VALIDATING:
        events.append(await _ask_anew(tx, restored, at))
    return events


async def erase(tx: Tx, now: datetime, limit: int) -> tuple[int, list[Event]]:
    """ERASE up to `limit` deleted models whose time has passed, and the contents that no other model has.

    Returns how many were due, and the events. Emits: ModelErased, ObjectDropped.
    """
    due = await deletion.due(tx, now, limit)
    held = await model_files.hold(tx, due)
    erased = await deletion.erase(tx, due, now)
    return len(due), await _erased(tx, erased, held, reason="model_deleted", at=now)


async def expire(tx: Tx, before: datetime, limit: int, *, at: datetime) -> tuple[int, list[Event]]:
    """EXPIRE up to `limit` models that are in error since `before`, and the contents that no other model has.

    Returns how many were due, and the events. Emits: ModelErased, ObjectDropped.
    """
    due = await deletion.failed(tx, before, limit)
    await models.lock_names(tx, due)
    held = await model_files.hold(tx, due)
    expired = await deletion.expire(tx, due, before)
    for model in expired:
        await models.ensure_latest(tx, model.project_id, model.name)
    return len(due), await _erased(tx, expired, held, reason="model_expired", at=at)


async def _abort_upload(tx: Tx, model_id: str, at: datetime) -> list[Event]:
    """Abort the model's upload, if one is under way."""
    upload_id = await uploads.live_of_model(tx, model_id)
    if upload_id is None:
        return []
    upload = await uploads.lock(tx, upload_id)
    return await upload_transitions.abort(tx, upload, at=at) if upload.status in LIVE else []


async def _restored_before(tx: Tx, project_id: str, model_id: str) -> list[Event]:
    """Nothing, if the model is there, so that the request can be repeated. Raises: ModelNotFound."""
    try:
        found = await models.get(tx, project_id, model_id, VersionRow)
    except ModelNotFound:
        raise ModelNotFound(NOT_RESTORABLE) from None
    if found.id != model_id:  # a name
        raise ModelNotFound(NOT_RESTORABLE)
    return []


async def _ask_anew(tx: Tx, model: RestoredRow, at: datetime) -> Event:
    """A new question: an answer to the one that was asked before the deletion does not count."""
    first = await validations.question(tx, model.id, model.project_id)
    await validations.ask_anew(tx, model.id, validation_id=first.validation_id, at=at)
    return validation_requested(first, await model_files.of_model(tx, model.id), at=at)


async def _erased(
    tx: Tx, models_gone: Sequence[VersionRow], held: Sequence[tuple[str, str]], *, reason: str, at: datetime
) -> list[Event]:
    events: list[Event] = [ModelErased(model_id=each.id, project_id=each.project_id, at=at) for each in models_gone]
    await pruning.delete(tx, await pruning.pruned_of_models(tx, [each.id for each in models_gone]))
    for project_id, keys in (await model_files.release(tx, held)).items():
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            events.append(ObjectDropped(project_id=project_id, keys=some, reason=reason, at=at))
    return events
