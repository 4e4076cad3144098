"""Registration: an uploaded model gets its files in the registry, then its verdict.

`register` claims the contents and asks the validator, `settle` takes its verdict; until that comes the model is asked
for again, parked while the validator cannot check it, and given up after days. Every function works in the caller's
transaction; those that return events leave it to the caller to emit them with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationParked,
    ModelValidationRequested,
    StoredFile,
)
from libs.db import Tx
from libs.errors import InvalidModelStatus, ModelNotFound
from libs.signals import notify
from services.gateway.deadlines import PAUSES
from services.gateway.models.states import REVALIDATE
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models, validations
from services.gateway.models.store.channels import MODEL_CHANGED
from services.gateway.models.store.models import VersionRow
from services.gateway.models.store.validations import CheckableRow
from services.gateway.models.transitions import model_registered, replace_files, validation_requested

GIVEN_UP_AT_ONCE = 100  # models in one statement

log = logging.getLogger(__name__)


async def register(
    tx: Tx, project_id: str, model_id: str, files: Sequence[StoredFile], *, upload_id: str, at: datetime
) -> list[Event]:
    """Enter the uploaded `files` of a model into the registry, each content once, and ask for its verdict.

    Models that had lost a content which this upload brings again are validated again.
    Emits: ModelRegistered, ModelValidationRequested; both also for each model that had lost a file, and ObjectDropped.
    """
    claimed = await model_files.claim(tx, project_id, files)
    kept = [msgspec.structs.replace(file, key=claimed.keys[file.sha256]) for file in files]
    replaced = await replace_files(tx, project_id, claimed.replaced, upload_id=upload_id, at=at)
    await model_files.insert(tx, model_id, project_id, kept)
    first = await validations.question(tx, model_id, project_id)
    await validations.register(
        tx,
        model_id,
        validation_id=first.validation_id,
        size_bytes=sum(file.size_bytes for file in kept),
        file_count=len(kept),
        at=at,
    )
    registered = model_registered(
        project_id, model_id, await model_files.of_model(tx, model_id), upload_id=upload_id, at=at
    )
    return [registered, validation_requested(first, kept, at=at), *replaced]


async def settle(tx: Tx, event: ModelValidated | ModelRejected) -> None:
    """Take the validator's verdict: ACCEPT or REJECT; a version that is ready becomes the latest of its name.

    A latest version that was checked anew and is rejected makes room for the newest that can be used.
    Without effect if the model does not wait for this verdict.
    """
    errors = [finding for finding in event.report.findings if finding.severity == "error"]
    reason = None
    if errors:
        more = f" ({len(errors) - 1} more; see the report.)" if len(errors) > 1 else ""
        reason = errors[0].sentence() + more
    await models.lock_name(tx, event.model_id)
    model = await validations.settle(tx, event.model_id, event.validation_id, event.report, reason=reason, at=event.at)
    if model is None:
        return
    await notify(tx, MODEL_CHANGED, model.id)
    if reason is None:
        await models.become_latest(tx, model)
    else:
        await models.pass_latest_on(tx, model)


async def park(tx: Tx, event: ModelValidationParked) -> None:
    """Record why the validator cannot check the model now; it tries again by itself at `event.retry_at`."""
    await validations.park(
        tx, event.model_id, event.reason, at=event.at, validation_id=event.validation_id, due_at=event.retry_at
    )


async def ask_again(tx: Tx, before: datetime, limit: int, *, at: datetime) -> list[ModelValidationRequested]:
    """Ask again about up to `limit` models whose verdict was due before `before`. Emits: ModelValidationRequested."""
    questions = []
    for model in await validations.overdue(tx, before, PAUSES, limit):
        log.info("asking for a verdict again", extra={"model_id": model.id, "asked": model.asked})
        questions.append(validation_requested(model, await model_files.of_model(tx, model.id), at=at))
    return questions


async def resume(tx: Tx, model_id: str, *, at: datetime) -> ModelValidationRequested | None:
    """RESUME, on an operator's word; None if the model does not wait for a verdict and did not until it was given up.

    Emits: ModelValidationRequested.
    """
    model = await validations.resume(tx, model_id, at)
    if model is None:
        return None
    return validation_requested(model, await model_files.of_model(tx, model.id), at=at, resume=True)


async def revalidate(tx: Tx, project_id: str, id_or_name: str, *, at: datetime) -> ModelValidationRequested:
    """REVALIDATE, on the client's word: the verdict is asked for anew, and the last report shown until it comes.

    Emits: ModelValidationRequested.
    Raises: ModelNotFound; InvalidModelStatus, in any other state, or without all files.
    """
    found = await models.get(tx, project_id, id_or_name, VersionRow)
    model = await validations.lock(tx, found.id)
    if model is None:
        raise ModelNotFound
    if why_not := _not_checkable(model):
        raise InvalidModelStatus(why_not, retryable=False)
    first = await validations.question(tx, model.id, project_id)
    await validations.revalidate(tx, model.id, validation_id=first.validation_id, at=at)
    return validation_requested(first, await model_files.of_model(tx, model.id), at=at)


def _not_checkable(model: CheckableRow) -> str | None:
    """Why a model cannot be checked anew, and what to do; None if it can."""
    if model.status not in REVALIDATE.sources:
        states = " or ".join(f"'{state}'" for state in REVALIDATE.sources)
        return f"This model is '{model.status}'; it can be checked anew when it is {states}."
    if model.status_before_missing is not None:
        return f"This model cannot be checked: {model.status_reason}"
    if model.file_count == 0:
        return "This model has no files to check: its upload did not succeed. Upload it again."
    return None


async def give_up(tx: Tx, now: datetime, after: timedelta) -> list[str]:
    """GIVE_UP models that were asked about through every pause, and for longer than `after`. Returns their ids."""
    unanswered = await validations.unanswered(tx, now - after, len(PAUSES), GIVEN_UP_AT_ONCE)
    await models.lock_names(tx, unanswered)
    given_up = await validations.give_up(
        tx,
        unanswered,
        now - after,
        len(PAUSES),
        why=f"No verdict came within {_in_words(after)}: %s The operator of this installation can have it tried again: "
        "slipway admin resume model.",
        otherwise="the validator did not answer.",
    )
    for model in given_up:
        await models.pass_latest_on(tx, model)
    return [model.id for model in given_up]


def _in_words(span: timedelta) -> str:
    return f"{span.days} days" if span.days > 1 else f"{round(span.total_seconds())} seconds"
