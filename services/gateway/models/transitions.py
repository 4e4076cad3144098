"""Every change of a model's state but those of its registration, and the events that tell of models.

Every function works in the caller's transaction; those that return events leave it to the caller to emit them with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from libs.contracts import (
    Event,
    ModelRegistered,
    ModelValidationRequested,
    ObjectDropped,
    StoredFile,
    ValidationOptions,
    id_of,
)
from libs.db import Tx
from services.gateway.models.responses import missing_reason
from services.gateway.models.store import deletion, missing, models, validations
from services.gateway.models.store import files as model_files
from services.gateway.models.store.validations import ValidationRow
from services.gateway.uploads.store import uploads


async def create(tx: Tx, project_id: str, name: str, version: str | None) -> tuple[str, str]:
    """CREATE a version of `name`: the given one, or the next. Returns (model id, version). Raises: Conflict."""
    return await models.create(tx, project_id, name, version)


async def process(tx: Tx, model_id: str) -> None:
    """PROCESS: its upload is complete."""
    await models.process(tx, model_id)


async def reopen(tx: Tx, model_id: str) -> None:
    """REOPEN: its upload is open again."""
    await models.reopen(tx, model_id)


async def discard(tx: Tx, model_id: str) -> bool:
    """DISCARD: its upload was aborted; the newest remaining version becomes the latest of its name.

    False if it has files already, or is gone.
    """
    return await models.discard(tx, model_id)


async def fail(tx: Tx, model_id: str, reason: str) -> None:
    """FAIL: its upload failed or expired, for `reason`."""
    await models.fail(tx, model_id, reason)


async def lose_files(tx: Tx, project_id: str, keys: Sequence[str], *, at: datetime) -> None:
    """Storage has lost these objects: no upload shares them any more; LOSE_FILES for every model that has one."""
    contents = await model_files.mark_missing(tx, project_id, keys, at)
    await compare_with_storage(tx, await missing.lock_having(tx, project_id, contents), at)


async def find_files(tx: Tx, project_id: str, keys: Sequence[str], *, at: datetime) -> None:
    """Storage has these objects again: FIND_FILES for every model that now lacks none."""
    contents = await model_files.mark_found(tx, project_id, keys, at)
    await compare_with_storage(tx, await missing.lock_having(tx, project_id, contents), at)


async def replace_files(
    tx: Tx, project_id: str, replaced: Mapping[str, str], *, upload_id: str, at: datetime
) -> list[Event]:
    """Contents that storage had lost are stored anew by `upload_id`; `replaced` has their old keys by sha256.

    Every model that has one refers to the new object: REPLACE_FILES where it lacks nothing else. A deleted model does
    too, and is compared with storage when it is restored.
    Emits: ModelRegistered for each, ModelValidationRequested where nothing is missing; ObjectDropped for the old keys.
    """
    if not replaced:
        return []
    model_ids = await missing.lock_having(tx, project_id, sorted(replaced))
    deleted = await deletion.having(tx, project_id, sorted(replaced))
    lacking = await model_files.missing_of(tx, model_ids)
    brought = await uploads.that_brought_models(tx, [*model_ids, *deleted])
    events: list[Event] = []
    for model_id in (*model_ids, *deleted):
        files = await model_files.of_model(tx, model_id)
        events.append(model_registered(project_id, model_id, files, upload_id=brought.get(model_id, upload_id), at=at))
        if model_id in deleted:
            continue
        if model_id in lacking:
            await missing.lose_files(tx, model_id, missing_reason(lacking[model_id]))
            continue
        first = await validations.question(tx, model_id, project_id)
        await missing.replace_files(tx, model_id, validation_id=first.validation_id, at=at)
        events.append(validation_requested(first, files, at=at))
    events.append(ObjectDropped(project_id=project_id, keys=sorted(replaced.values()), reason="replaced", at=at))
    return events


def model_registered(
    project_id: str, model_id: str, files: Sequence[StoredFile], *, upload_id: str, at: datetime
) -> ModelRegistered:
    """The objects that a model refers to, said for the first time or again."""
    return ModelRegistered(model_id=model_id, upload_id=upload_id, project_id=project_id, files=list(files), at=at)


def validation_requested(
    model: ValidationRow, files: Sequence[StoredFile], *, at: datetime, resume: bool = False
) -> ModelValidationRequested:
    """The question for a verdict; its id is made from the validation and the question's number: repeats collapse."""
    return ModelValidationRequested(
        id=id_of("model.validation_requested", model.validation_id, model.asked),
        model_id=model.id,
        project_id=model.project_id,
        validation_id=model.validation_id,
        files=list(files),
        resume=resume,
        options=msgspec.convert(model.validation_options, ValidationOptions) if model.validation_options else None,
        at=at,
    )


async def compare_with_storage(tx: Tx, model_ids: Sequence[str], at: datetime) -> None:
    """LOSE_FILES for those of the models that lack a file, FIND_FILES for the others."""
    lacking = await model_files.missing_of(tx, model_ids)
    for model_id in model_ids:
        if model_id in lacking:
            await missing.lose_files(tx, model_id, missing_reason(lacking[model_id]))
        else:
            await missing.find_files(tx, model_id, at)
