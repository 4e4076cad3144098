"""What happens to models when storage loses an object, has it again, or its content is uploaded anew.

Every function works in the caller's transaction and returns the events to emit with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from libs.contracts import Event, ModelRegistered, ObjectDropped
from libs.db import Tx
from services.gateway.models import validation
from services.gateway.models.store import files, missing
from services.gateway.uploads.store import uploads

NAMED_AT_MOST = 20  # files in one message


async def lose(tx: Tx, project_id: str, keys: Sequence[str], *, at: datetime) -> None:
    """Storage lacks these objects: nothing new counts on them, and every model that has one is in error."""
    contents = await files.mark_missing(tx, project_id, keys, at)
    await _judge(tx, await missing.lock_having(tx, project_id, contents), at)


async def find(tx: Tx, project_id: str, keys: Sequence[str], *, at: datetime) -> None:
    """Storage has these objects again: models that lack nothing else are what they were."""
    contents = await files.mark_found(tx, project_id, keys, at)
    await _judge(tx, await missing.lock_having(tx, project_id, contents), at)


async def _judge(tx: Tx, model_ids: Sequence[str], at: datetime) -> None:
    lacking = await files.missing_of(tx, model_ids)
    for model_id in model_ids:
        if model_id in lacking:
            await missing.lack(tx, model_id, reason(lacking[model_id]))
        else:
            await missing.restore(tx, model_id, at)


async def heal(tx: Tx, project_id: str, replaced: Mapping[str, str], *, upload_id: str, at: datetime) -> list[Event]:
    """Contents that were missing are stored anew by `upload_id`; `replaced` has their old keys by sha256.

    Every model that had one refers to the new object, and is validated again if it lacks nothing else.
    Emits: ModelRegistered and ModelValidationRequested for each; ObjectDropped for the old objects.
    """
    if not replaced:
        return []
    model_ids = await missing.lock_having(tx, project_id, sorted(replaced))
    lacking = await files.missing_of(tx, model_ids)
    brought = await uploads.that_brought_models(tx, model_ids)
    events: list[Event] = []
    for model_id in model_ids:
        kept = await files.of_model(tx, model_id)
        events.append(
            ModelRegistered(
                model_id=model_id,
                upload_id=brought.get(model_id, upload_id),
                project_id=project_id,
                files=kept,
                at=at,
            )
        )
        if model_id in lacking:
            await missing.lack(tx, model_id, reason(lacking[model_id]))
        else:
            events.append(await validation.begin_again(tx, project_id, model_id, kept, at=at))
    events.append(ObjectDropped(project_id=project_id, keys=sorted(replaced.values()), reason="replaced", at=at))
    return events


def reason(paths: Sequence[str]) -> str:
    """What a model is shown with that lacks these files."""
    if len(paths) == 1:
        return f"{paths[0]} is no longer in storage; upload the same file again and this model is whole again."
    named = ", ".join(paths[:NAMED_AT_MOST]) + (", …" if len(paths) > NAMED_AT_MOST else "")
    return (
        f"{len(paths)} files are no longer in storage: {named}; upload the same files again and this model is whole "
        "again."
    )
