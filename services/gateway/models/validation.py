"""How a model gets its verdict: asked for until it comes, parked while it cannot, given up after days.

Every function works in the caller's transaction and returns the events to emit with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.contracts import ModelValidationRequested, StoredFile, id_of, new_id
from libs.db import Tx
from services.gateway.models.store import files as model_files
from services.gateway.models.store import verdicts
from services.gateway.models.store.verdicts import Waiting

# From one question to the next, while no answer comes. No setting, since handlers read none.
PAUSES = (
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=30),
)


async def begin(
    tx: Tx, project_id: str, model_id: str, files: Sequence[StoredFile], *, at: datetime, deadline_at: datetime
) -> ModelValidationRequested:
    """A model has all its files: 'processing' -> 'validating'; asked for again at `deadline_at`."""
    first = Waiting(id=model_id, project_id=project_id, validation_id=new_id(), asked=1)
    await verdicts.expect(
        tx,
        model_id,
        validation_id=first.validation_id,
        size_bytes=sum(file.size_bytes for file in files),
        file_count=len(files),
        at=at,
        deadline_at=deadline_at,
    )
    return question(first, files, at=at)


async def begin_again(
    tx: Tx, project_id: str, model_id: str, files: Sequence[StoredFile], *, at: datetime
) -> ModelValidationRequested:
    """What the model consists of has changed: its verdict is asked for anew."""
    first = Waiting(id=model_id, project_id=project_id, validation_id=new_id(), asked=1)
    await verdicts.expect_another(tx, model_id, validation_id=first.validation_id, at=at, deadline_at=at + PAUSES[0])
    return question(first, files, at=at)


async def ask_again(tx: Tx, model: Waiting, *, at: datetime) -> ModelValidationRequested:
    """One more question about a model, whose number is counted already."""
    return question(model, await model_files.of_model(tx, model.id), at=at)


async def ask_now(tx: Tx, model_id: str, *, at: datetime) -> ModelValidationRequested | None:
    """An operator's question about a model that waits for its verdict, or did until it was given up; else None."""
    model = await verdicts.ask_now(tx, model_id, at, at + PAUSES[0])
    if model is None:
        return None
    return question(model, await model_files.of_model(tx, model.id), at=at, resume=True)


def question(
    model: Waiting, files: Sequence[StoredFile], *, at: datetime, resume: bool = False
) -> ModelValidationRequested:
    """The event that asks; its id says for which validation, and how often before, so that repeats collapse."""
    return ModelValidationRequested(
        id=id_of("model.validation_requested", model.validation_id, model.asked),
        model_id=model.id,
        project_id=model.project_id,
        validation_id=model.validation_id,
        files=list(files),
        resume=resume,
        at=at,
    )


async def give_up(tx: Tx, now: datetime, after: timedelta) -> list[str]:
    """End the waiting of models that were asked for through every pause, and for longer than `after`: their ids."""
    return await verdicts.give_up(
        tx,
        now - after,
        len(PAUSES),
        why=f"No verdict came within {_in_words(after)}: %s The operator of this installation can have it tried again: "
        "slipway admin resume model.",
        otherwise="the validator did not answer.",
        limit=100,
    )


def _in_words(span: timedelta) -> str:
    return f"{span.days} days" if span.days > 1 else f"{round(span.total_seconds())} seconds"
