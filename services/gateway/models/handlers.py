"""What the registry does about each event: of the validator about verdicts, of lifecycle about objects."""

from __future__ import annotations

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
from services.gateway.models import registration, transitions
from services.gateway.models.store import files as model_files
from services.gateway.models.store import validations
from services.gateway.models.transitions import model_registered
from services.gateway.projects import store as projects
from services.gateway.uploads.store import uploads

KEYS_AT_ONCE = 500  # in one statement, and in one event

handlers = Handlers("gateway")


@handlers.on(ModelValidated, ModelRejected)
async def take_verdict(event: ModelValidated | ModelRejected, tx: Tx) -> list[Event]:
    """ACCEPT or REJECT; a version that is ready becomes the latest of its name."""
    await registration.settle(tx, event)
    return []


@handlers.on(ModelValidationParked)
async def show_parked(event: ModelValidationParked, tx: Tx) -> list[Event]:
    """Record why the validator cannot check the model now; it stays 'validating'."""
    await registration.park(tx, event)
    return []


@handlers.on_dead(ModelValidationRequested, ModelValidated, ModelRejected)
async def park_undeliverable_model(
    letter: DeadLetter, event: ModelValidationRequested | ModelValidated | ModelRejected, tx: Tx
) -> list[Event]:
    """Record which event could not be handled: the model stays 'validating', and the sweeper asks again."""
    reason = f"{undeliverable(letter).message} It is tried again by itself."
    await validations.park(tx, event.model_id, reason, at=letter.at, validation_id=event.validation_id)
    return []


@handlers.on(ObjectMissing)
async def lose_files(event: ObjectMissing, tx: Tx) -> list[Event]:
    """LOSE_FILES for the models that have these objects."""
    for keys in _slices(event.keys):
        await transitions.lose_files(tx, event.project_id, keys, at=event.at)
    return []


@handlers.on(ObjectFound)
async def find_files(event: ObjectFound, tx: Tx) -> list[Event]:
    """FIND_FILES for the models that have these objects, and lack no other."""
    for keys in _slices(event.keys):
        await transitions.find_files(tx, event.project_id, keys, at=event.at)
    return []


@handlers.on(ObjectUnclaimed)
async def drop_unclaimed(event: ObjectUnclaimed, tx: Tx) -> list[Event]:
    """Answer which of the objects that lifecycle has no reference for belong to no model and to no live upload.

    Of an object that a model has, lifecycle missed the event: ModelRegistered is sent again. Keys that are not below
    the event's project, or whose project does not exist here, may be another installation's: no answer for them.
    Emits: ObjectDropped, ModelRegistered.
    """
    if not await projects.exists(tx, event.project_id):
        return []
    events: list[Event] = []
    for keys in _slices([key for key in event.keys if key.startswith(f"{event.project_id}/")]):
        kept = await model_files.claimed(tx, keys)
        live = await uploads.live_among(tx, [upload for key in keys if (upload := upload_of(key))])
        for brought in await uploads.that_brought(tx, sorted(kept)):
            files = await model_files.of_model(tx, brought.model_id)
            events.append(
                model_registered(brought.project_id, brought.model_id, files, upload_id=brought.id, at=event.at)
            )
        unclaimed = [key for key in keys if key not in kept and upload_of(key) not in live]
        if unclaimed:
            events.append(ObjectDropped(project_id=event.project_id, keys=unclaimed, reason="unclaimed", at=event.at))
    return events


def _slices(keys: list[str]) -> list[list[str]]:
    return [keys[start : start + KEYS_AT_ONCE] for start in range(0, len(keys), KEYS_AT_ONCE)]
