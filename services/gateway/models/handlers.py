"""What the registry does about each event: models follow the validator, their objects follow lifecycle."""

from __future__ import annotations

from datetime import timedelta

from libs.bus import DeadLetter, Handlers
from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationParked,
    ModelValidationRequested,
    ObjectDropped,
    ObjectFound,
    ObjectMissing,
    ObjectUnclaimed,
)
from libs.contracts.keys import upload_of
from libs.db import Tx
from services.gateway.deadletters import undeliverable
from services.gateway.models import missing
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models, verdicts
from services.gateway.projects import store as projects
from services.gateway.uploads import transitions
from services.gateway.uploads.store import uploads

PATIENCE = timedelta(seconds=30)  # after the validator was to try again, until it is asked
KEYS_AT_ONCE = 500  # in one statement, and in one event

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
    model = await verdicts.record(tx, event.model_id, event.validation_id, event.report, reason=reason, at=event.at)
    if model is not None and reason is None:
        await models.become_latest(tx, model)
    return []


@handlers.on(ModelValidationParked)
async def show_parked(event: ModelValidationParked, tx: Tx) -> list[Event]:
    """The model stays 'validating' and says what it waits for, until its verdict comes."""
    await verdicts.park(
        tx,
        event.model_id,
        event.reason,
        at=event.at,
        validation_id=event.validation_id,
        ask_at=event.retry_at + PATIENCE,
    )
    return []


@handlers.on_dead(ModelValidationRequested, ModelValidated, ModelRejected)
async def park_undeliverable_model(
    letter: DeadLetter, event: ModelValidationRequested | ModelValidated | ModelRejected, tx: Tx
) -> list[Event]:
    """An error of ours is no verdict: the model says what failed, and the sweeper asks again."""
    reason = f"{undeliverable(letter).message} It is tried again by itself."
    await verdicts.park(tx, event.model_id, reason, at=letter.at, validation_id=event.validation_id)
    return []


@handlers.on(ObjectMissing)
async def lose_files(event: ObjectMissing, tx: Tx) -> list[Event]:
    """Models that have these objects are in error and say which file is gone."""
    for keys in _slices(event.keys):
        await missing.lose(tx, event.project_id, keys, at=event.at)
    return []


@handlers.on(ObjectFound)
async def find_files(event: ObjectFound, tx: Tx) -> list[Event]:
    """Models that lack nothing else are what they were."""
    for keys in _slices(event.keys):
        await missing.find(tx, event.project_id, keys, at=event.at)
    return []


@handlers.on(ObjectUnclaimed)
async def drop_unclaimed(event: ObjectUnclaimed, tx: Tx) -> list[Event]:
    """Say which of the objects that lifecycle found belong to nothing: neither to a model nor to a live upload.

    Of those that models have it was never told, or the telling was lost: it is told again. Nothing is said of keys
    that are not below the event's project, or whose project does not exist here: they may be another installation's.
    Emits: ObjectDropped, ModelRegistered.
    """
    if not await projects.exists(tx, event.project_id):
        return []
    events: list[Event] = []
    for keys in _slices([key for key in event.keys if key.startswith(f"{event.project_id}/")]):
        kept = await model_files.claimed(tx, keys)
        live = await uploads.live_among(tx, [upload for key in keys if (upload := upload_of(key))])
        events += [
            await transitions.registered(tx, brought, at=event.at)
            for brought in await uploads.that_brought(tx, sorted(kept))
        ]
        unclaimed = [key for key in keys if key not in kept and upload_of(key) not in live]
        if unclaimed:
            events.append(ObjectDropped(project_id=event.project_id, keys=unclaimed, reason="unclaimed", at=event.at))
    return events


def _slices(keys: list[str]) -> list[list[str]]:
    return [keys[start : start + KEYS_AT_ONCE] for start in range(0, len(keys), KEYS_AT_ONCE)]
