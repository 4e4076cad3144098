"""What the validator does about each event: it writes a row, and signals the worker; a known verdict is sent again."""

from __future__ import annotations

from datetime import datetime

from libs.bus import Handlers
from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationParked,
    ModelValidationRequested,
    ProjectDeleted,
    ProjectLimited,
)
from libs.db import Tx
from libs.signals import notify
from services.validator import store
from services.validator.store import WAITING, Parked, Verdict

handlers = Handlers("validator")


@handlers.on(ModelValidationRequested)
async def queue_validation(event: ModelValidationRequested, tx: Tx) -> list[Event]:
    """Queue the validation; with `resume`, a postponed or parked one can be claimed at once.

    Emits: for a repeated request, ModelValidated or ModelRejected as the first time, or ModelValidationParked.
    """
    if await store.queue(tx, event):
        await notify(tx, WAITING)
        return []
    verdict = await store.find(tx, event.validation_id)
    if verdict is not None:
        return [verdict_event(event.model_id, event.validation_id, verdict)]
    if event.resume:
        await store.resume(tx, event.validation_id)
        await notify(tx, WAITING)
        return []
    parked = await store.find_parked(tx, event.validation_id)
    return [parked_event(event.model_id, event.validation_id, parked, event.at)] if parked else []


@handlers.on(ProjectLimited)
async def limit_project(event: ProjectLimited, tx: Tx) -> list[Event]:
    """Record how many models of the project may be validated at a time."""
    await store.limit_project(tx, event.project_id, event.validations_at_once, event.at)
    await notify(tx, WAITING)
    return []


@handlers.on(ProjectDeleted)
async def delete_project(event: ProjectDeleted, tx: Tx) -> list[Event]:
    """Record that the project was deleted; its rows are removed by and by."""
    await store.delete_project(tx, event.project_id, event.at)
    return []


def verdict_event(model_id: str, validation_id: str, verdict: Verdict) -> Event:
    """The event of a verdict. Emits: ModelValidated, ModelRejected."""
    at, report = verdict.decided_at, verdict.report
    if report.passed:
        return ModelValidated(at=at, model_id=model_id, validation_id=validation_id, report=report)
    return ModelRejected(at=at, model_id=model_id, validation_id=validation_id, report=report)


def parked_event(model_id: str, validation_id: str, parked: Parked, at: datetime) -> Event:
    """The event that says why there is no verdict yet. Emits: ModelValidationParked."""
    return ModelValidationParked(
        at=at,
        model_id=model_id,
        validation_id=validation_id,
        reason=parked.reason or "",
        retry_at=parked.not_before,
    )
