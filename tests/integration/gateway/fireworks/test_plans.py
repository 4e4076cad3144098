"""No model is looked up, listed or counted by reading a large table from end to end."""

from __future__ import annotations

from datetime import timedelta

from libs.contracts import ValidationOptions
from libs.db import Tx, transaction
from services.gateway.fireworks import store
from services.gateway.models.store import validations
from services.gateway.uploads.store import files, uploads
from services.gateway.uploads.store.expiry import Lifetime
from tests.integration.gateway.harness import Uploads
from tests.integration.gateway.large import LARGE_PROJECT, LARGE_TABLES, given_large_registry, large_model
from tests.support.plans import recorded, sequential_scans


async def look(tx: Tx) -> None:
    model_id = large_model(1)
    assert (await store.get(tx, LARGE_PROJECT, "model 20")).id == model_id
    assert await store.find(tx, LARGE_PROJECT, "no model") is None
    first = await store.page(tx, LARGE_PROJECT, after="", limit=50)
    assert len(await store.page(tx, LARGE_PROJECT, after=first[-1].name, limit=50)) == 50
    assert await store.count(tx, LARGE_PROJECT) == 5000
    assert await store.versions(tx, LARGE_PROJECT, "model 20") == [model_id]
    assert len(await store.files_of(tx, [model.id for model in first])) == 50
    assert (await validations.question(tx, model_id, LARGE_PROJECT)).asked == 1


async def change(tx: Tx) -> None:
    model_id = large_model(1)
    await store.declare(tx, model_id, {}, None)
    await validations.set_options(tx, model_id, ValidationOptions())
    upload = await store.last_upload(tx, model_id)
    assert upload is not None
    assert await uploads.with_secret(tx, upload.id) == (upload, None)
    await uploads.set_secret(tx, upload.id, bytes(32))
    await uploads.reserve(tx, upload.id, 1)
    await uploads.extend(tx, upload.id, Lifetime(timedelta(days=1), timedelta(days=30)))
    assert await files.by_path(tx, upload.id, "config.json") is None


async def test_nothing_reads_a_large_table_from_end_to_end(uploads: Uploads) -> None:
    await given_large_registry(uploads.pool)
    for work in (look, change):
        async with transaction(uploads.pool) as tx:
            with recorded(tx) as statements:
                await work(tx)
            assert await sequential_scans(tx, statements) & LARGE_TABLES == set(), work.__name__
