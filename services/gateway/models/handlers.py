"""What the registry does about each event: models follow the validator, their objects follow lifecycle."""

from __future__ import annotations

from libs.bus import DeadLetter, Handlers
from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    ObjectDropped,
    ObjectUnclaimed,
)
from libs.contracts.keys import upload_of
from libs.db import Tx
from services.gateway.deadletters import undeliverable
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.uploads import session
from services.gateway.uploads.store import sessions

handlers = Handlers("gateway")


@handlers.on(ModelValidated, ModelRejected)
async def take_verdict(event: ModelValidated | ModelRejected, tx: Tx) -> list[Event]:
    """validating -> ready or error; a version that is ready becomes the latest of its name."""
    errors = [finding for finding in event.report.findings if finding.severity == "error"]
    reason = None
    if errors:
        more = f" ({len(errors) - 1} more; see the report.)" if len(errors) > 1 else ""
        reason = errors[0].sentence() + more
    await models.lock_name(tx, event.model_id)
    model = await models.record_verdict(
        tx, event.model_id, event.validation_id, event.report, reason=reason, at=event.at
    )
    if model is not None and reason is None:
        await models.become_latest(tx, model)
    return []


@handlers.on(ObjectUnclaimed)
async def drop_unclaimed(event: ObjectUnclaimed, tx: Tx) -> list[Event]:
    """Say which of the objects that lifecycle found belong to nothing: neither to a model nor to a live upload.

    Of those that models have it was never told, or the telling was lost: it is told again.
    Emits: ObjectDropped, ModelRegistered.
    """
    live = await sessions.live_among(tx, [upload for key in event.keys if (upload := upload_of(key))])
    kept = await model_files.claimed(tx, event.keys)
    events: list[Event] = [
        await session.registered(tx, upload, at=event.at) for upload in await sessions.that_brought(tx, sorted(kept))
    ]
    unclaimed = [key for key in event.keys if key not in kept and upload_of(key) not in live]
    if unclaimed:
        events.append(ObjectDropped(project_id=event.project_id, keys=unclaimed, reason="unclaimed", at=event.at))
    return events


@handlers.on_dead(ModelValidationRequested, ModelValidated, ModelRejected)
async def fail_undeliverable_model(
    letter: DeadLetter, event: ModelValidationRequested | ModelValidated | ModelRejected, tx: Tx
) -> list[Event]:
    """A model that could not be validated is in error for that reason, not validating for ever."""
    await models.fail(tx, event.model_id, undeliverable(letter).sentence())
    return []
