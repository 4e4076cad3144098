"""No question, sweep or repair reads a large table from end to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from libs.contracts import ModelRegistered, ModelRejected, ModelRestored, ObjectUnclaimed
from libs.contracts.keys import member_key
from libs.db import Tx, transaction
from services.gateway.admin import store as admin
from services.gateway.deadlines import PAUSES
from services.gateway.models import deletion, registration, transitions
from services.gateway.models.handlers import drop_unclaimed
from services.gateway.models.store import deletion as deleted_models
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models, validations
from services.gateway.models.store.models import CreatedRow, ListedModelRow, ModelRow, VersionRow
from tests.integration.gateway.harness import NOON, Uploads
from tests.integration.gateway.large import (
    LARGE_PROJECT,
    LARGE_TABLES,
    given_large_registry,
    large_key,
    large_model,
)
from tests.integration.gateway.models.verdicts import SYMLINK, report
from tests.support.plans import recorded, sequential_scans

KEYS = [large_key(n) for n in range(50)] + [member_key(LARGE_PROJECT, "gone", 0, 1, n) for n in range(50)]
FAILED = [large_model(n) for n in range(20, 30)]
LATER = datetime.now(UTC) + timedelta(days=8)


async def lose_and_find(tx: Tx) -> None:
    await transitions.lose_files(tx, LARGE_PROJECT, KEYS[:10], at=NOON)
    await transitions.find_files(tx, LARGE_PROJECT, KEYS[:10], at=NOON + timedelta(hours=1))


async def answer_lifecycle(tx: Tx) -> None:
    events = await drop_unclaimed(ObjectUnclaimed(project_id=LARGE_PROJECT, keys=KEYS, at=NOON), tx)
    assert len([event for event in events if isinstance(event, ModelRegistered)]) == 50


async def content_of(tx: Tx, model_id: str) -> str:
    """The sha256 of the model's file."""
    [file] = await model_files.of_model(tx, model_id)
    return file.sha256


async def sweep(tx: Tx) -> None:
    asked = await validations.overdue(tx, LATER, PAUSES, 20)
    assert len(asked) == 20
    await tx.execute("UPDATE model SET asked = 6 WHERE id = ANY ($1)", [model.id for model in asked])
    assert len(await registration.give_up(tx, LATER, timedelta(days=7))) == 20


async def change(tx: Tx) -> None:
    edited = await models.edit(tx, large_model(1), {"description": "new", "num_layers": 2})
    assert edited is not None
    assert (edited.description, edited.num_layers) == ("new", 2)
    await tx.execute("UPDATE model SET file_count = 1 WHERE id = $1", large_model(2))
    asked = await registration.revalidate(tx, LARGE_PROJECT, "model 40", at=NOON)
    await models.lock_name(tx, asked.model_id)
    rejected = ModelRejected(
        model_id=asked.model_id, validation_id=asked.validation_id, report=report(SYMLINK), at=NOON
    )
    await registration.settle(tx, rejected)
    assert await models.exists(tx, LARGE_PROJECT, large_model(2))


async def look(tx: Tx) -> None:
    assert len(await admin.parked_models(tx, 10)) == 10
    assert await admin.parked_uploads(tx, 10) == []
    assert len(await models.page(tx, LARGE_PROJECT, ListedModelRow, limit=100)) == 100
    assert len(await models.page(tx, LARGE_PROJECT, ListedModelRow, after=large_model(50), limit=10)) == 10
    [version] = await models.page(tx, LARGE_PROJECT, ModelRow, name="model 0", limit=10)
    assert version.id == large_model(0)
    assert (await models.get(tx, LARGE_PROJECT, "model 20", VersionRow)).id == large_model(1)
    assert (await models.get(tx, LARGE_PROJECT, large_model(1), CreatedRow)).id == large_model(1)


async def delete_and_erase(tx: Tx) -> None:
    gone = [large_model(n) for n in range(1, 9)]
    for model_id in gone:
        answer, _ = await deletion.delete(tx, LARGE_PROJECT, model_id, by="key", at=NOON, erase_at=LATER)
        assert answer.restorable_until == LATER
    assert len(await deleted_models.page(tx, LARGE_PROJECT, limit=100, now=NOON)) == len(gone)
    assert len(await deleted_models.page(tx, LARGE_PROJECT, after=large_model(5), limit=100, now=NOON)) == 4
    assert [type(each) for each in await deletion.restore(tx, LARGE_PROJECT, gone[0], at=NOON)] == [ModelRestored]
    await transitions.replace_files(tx, LARGE_PROJECT, {await content_of(tx, gone[1]): "old"}, upload_id="u", at=NOON)
    await tx.execute(
        "UPDATE model SET status = 'error', updated_at = '-infinity', validated_at = now() WHERE id = ANY ($1)", FAILED
    )
    erased, events = await deletion.erase(tx, LATER, 20)
    assert (erased, len(events)) == (len(gone) - 1, len(gone))
    expired, events = await deletion.expire(tx, NOON, 20, at=NOON)
    assert (expired, len(events)) == (len(FAILED), len(FAILED) + 1)


WORK: list[Callable[[Tx], Awaitable[None]]] = [answer_lifecycle, lose_and_find, sweep, look, change, delete_and_erase]


async def test_nothing_reads_a_large_table_from_end_to_end(uploads: Uploads) -> None:
    await given_large_registry(uploads.pool)
    scanned = {}
    for work in WORK:
        async with transaction(uploads.pool) as tx:
            with recorded(tx) as statements:
                await work(tx)
            scanned[work.__name__] = await sequential_scans(tx, statements) & LARGE_TABLES
    assert scanned == {work.__name__: set() for work in WORK}
