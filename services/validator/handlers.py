"""What the validator does about each event: a row, and a signal to whoever works on it; a verdict is told again."""

from __future__ import annotations

from datetime import datetime

from libs.bus import Handlers
from libs.contracts import Event, ModelRejected, ModelValidated, ModelValidationParked, ModelValidationRequested
from libs.db import Tx
from libs.signals import notify
from services.validator import store
from services.validator.store import Parked, Verdict

WAITING = "validation"  # signalled when there is something to claim

handlers = Handlers("validator")


@handlers.on(ModelValidationRequested)
async def queue_validation(event: ModelValidationRequested, tx: Tx) -> list[Event]:
    """Let the model wait for its verdict; with `resume` now, if it is put off.

    Emits: for a repeated request ModelValidated or ModelRejected as at first, or ModelValidationParked.
    """
    if await store.queue(tx, event):
        await notify(tx, WAITING)
        return []
    verdict = await store.find(tx, event.validation_id)
    if verdict is not None:
        return [decided(event.model_id, event.validation_id, verdict)]
    if event.resume:
        await store.resume(tx, event.validation_id)
        await notify(tx, WAITING)
        return []
    parked = await store.find_parked(tx, event.validation_id)
    return [put_off(event.model_id, event.validation_id, parked, event.at)] if parked else []


def decided(model_id: str, validation_id: str, verdict: Verdict) -> Event:
    """The event that tells of a verdict."""
    kind = ModelValidated if verdict.report.passed else ModelRejected
    return kind(at=verdict.decided_at, model_id=model_id, validation_id=validation_id, report=verdict.report)


def put_off(model_id: str, validation_id: str, parked: Parked, at: datetime) -> Event:
    """The event that tells why there is no verdict yet."""
    return ModelValidationParked(
        at=at,
        model_id=model_id,
        validation_id=validation_id,
        reason=parked.reason or "",
        retry_at=parked.not_before,
    )
