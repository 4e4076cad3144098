"""An object that storage has lost: its models say so, nothing counts on it, and the same content heals them."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts import (
    ModelRegistered,
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    ObjectDropped,
    ObjectFound,
    ObjectMissing,
    StoredFile,
)
from libs.db import transaction
from services.gateway.models import registration, transitions
from services.gateway.models.store import files as model_files
from services.gateway.models.store.files import Claimed
from services.gateway.models.sweepers import ask_verdicts_again
from tests.integration.gateway.harness import FILES, NOON, PROJECT, STALE_AFTER, Uploads
from tests.integration.gateway.models.locks import someone_waits_for_a_lock
from tests.integration.gateway.models.verdicts import SYMLINK, asked_for, report

LATER = NOON + timedelta(hours=1)
WEIGHTS, CONFIG = "model.safetensors", "config.json"


async def key_of(uploads: Uploads, model_id: str, path: str) -> str:
    """Where the model's file is, as the registry told last."""
    registered = [event for event in await uploads.emitted(ModelRegistered) if event.model_id == model_id]
    return next(file.key for file in registered[-1].files if file.path == path)


async def lose(uploads: Uploads, *keys: str, at: datetime = NOON) -> None:
    """The objects go, and lifecycle finds out."""
    await uploads.dependencies.blobs.delete(keys)
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=list(keys), at=at))


async def ready_model(uploads: Uploads, name: str = "tiny", files: dict[str, bytes] = FILES) -> str:
    model_id = str((await uploads.upload_directory(files, name))["model_id"])
    await uploads.validate(model_id)
    return model_id


async def test_every_model_that_has_the_object_is_in_error_and_names_the_file(uploads: Uploads) -> None:
    models = [await ready_model(uploads, name) for name in ("one", "two")]
    other = await ready_model(uploads, "other", {**FILES, WEIGHTS: b"other weights"})
    await lose(uploads, await key_of(uploads, models[0], WEIGHTS))

    for model_id in models:
        model = await uploads.model(model_id)
        assert model["status"] == "error"
        assert model["status_reason"].startswith(f"{WEIGHTS} is no longer in storage; upload the same file again")
        assert (model["deployable"], model["deployable_reason"]) == (False, model["status_reason"])
    assert (await uploads.model(other))["status"] == "ready"


async def test_a_model_names_all_that_it_lacks(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await lose(uploads, await key_of(uploads, model_id, WEIGHTS))
    await lose(uploads, await key_of(uploads, model_id, CONFIG))
    reason = (await uploads.model(model_id))["status_reason"]
    assert reason.startswith(f"2 files are no longer in storage: {CONFIG}, {WEIGHTS};")


async def test_downloads_of_a_lost_file_name_it(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await lose(uploads, await key_of(uploads, model_id, WEIGHTS))
    async with uploads.client.get(f"/v1/models/{model_id}/files/{WEIGHTS}") as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["type"]) == (404, "file_missing", "not_found_error")
    assert WEIGHTS in error["message"]
    async with uploads.client.get(f"/v1/models/{model_id}/files/{CONFIG}") as response:
        assert await response.read() == FILES[CONFIG]


@pytest.mark.parametrize("before", ["ready", "error", "validating"])
async def test_what_is_found_again_makes_models_what_they_were(uploads: Uploads, before: str) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    asked = await asked_for(uploads, model_id)
    if before == "ready":
        await uploads.validate(model_id)
    elif before == "error":
        await uploads.deliver(
            ModelRejected(model_id=model_id, validation_id=asked.validation_id, report=report(SYMLINK), at=NOON)
        )
    was = await uploads.model(model_id)
    keys = [await key_of(uploads, model_id, path) for path in FILES]
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=keys, at=NOON))
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=keys[:1], at=LATER))
    assert (await uploads.model(model_id))["status_reason"].startswith(f"{list(FILES)[1]} is no longer")
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=keys[1:], at=LATER))

    again = await uploads.model(model_id)
    assert {**again, "updated_at": was["updated_at"]} == was
    if before == "validating":
        await ask_verdicts_again(uploads.pool, datetime.now(UTC), STALE_AFTER)
        verdict = await asked_for(uploads, model_id)
        assert verdict.id != asked.id
        await uploads.validate(model_id)
        assert (await uploads.model(model_id))["status"] == "ready"


async def test_late_and_repeated_events_of_an_object_change_nothing(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    key = await key_of(uploads, model_id, WEIGHTS)
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=[key], at=LATER))
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[key], at=NOON))
    assert (await uploads.model(model_id))["status"] == "ready"

    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[key], at=LATER + timedelta(hours=1)))
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[key], at=LATER + timedelta(hours=2)))
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=[key], at=LATER))
    assert (await uploads.model(model_id))["status"] == "error"


async def test_another_projects_event_changes_nothing(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    key = await key_of(uploads, model_id, WEIGHTS)
    await uploads.deliver(ObjectMissing(project_id="proj_ANOTHER001", keys=[key], at=NOON))
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_a_manifest_is_not_told_that_a_lost_file_need_not_be_sent(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await lose(uploads, await key_of(uploads, model_id, WEIGHTS))
    listed = [
        {"relative_path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in FILES.items()
    ]
    opened = await uploads.call("POST", "uploads/directory", json={"model_name": "tiny", "files": listed})
    assert {slot["relative_path"]: slot["present"] for slot in opened["files"]} == {CONFIG: True, WEIGHTS: False}


async def test_the_same_content_uploaded_again_heals_every_model_that_had_it(uploads: Uploads) -> None:
    models = [await ready_model(uploads, name) for name in ("one", "two")]
    lost = await key_of(uploads, models[0], WEIGHTS)
    kept = await key_of(uploads, models[0], CONFIG)
    await lose(uploads, lost)

    healer = (await uploads.upload_directory(FILES, "three"))["model_id"]
    new = await key_of(uploads, healer, WEIGHTS)
    assert new != lost
    for model_id in models:
        assert (await uploads.model(model_id))["status"] == "validating"
        assert await key_of(uploads, model_id, WEIGHTS) == new
        assert await key_of(uploads, model_id, CONFIG) == kept
        await uploads.validate(model_id)
        assert (await uploads.model(model_id))["status"] == "ready"
        async with uploads.client.get(f"/v1/models/{model_id}/files/{WEIGHTS}") as response:
            assert await response.read() == FILES[WEIGHTS]
    registered = await uploads.emitted(ModelRegistered)
    of_first = [event.upload_id for event in registered if event.model_id == models[0]]
    assert len(of_first) == 2
    assert len(set(of_first)) == 1
    dropped = [key for event in await uploads.emitted(ObjectDropped) for key in event.keys]
    assert lost in dropped
    assert new not in dropped


async def test_a_model_that_lacks_another_file_too_is_healed_file_by_file(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await lose(uploads, await key_of(uploads, model_id, WEIGHTS), await key_of(uploads, model_id, CONFIG))
    await uploads.upload_directory({CONFIG: b'{"other": 1}', WEIGHTS: FILES[WEIGHTS]}, "weights")
    model = await uploads.model(model_id)
    assert model["status"] == "error"
    assert model["status_reason"].startswith(f"{CONFIG} is no longer")

    await uploads.upload_directory({CONFIG: FILES[CONFIG], WEIGHTS: b"other"}, "config")
    assert (await uploads.model(model_id))["status"] == "validating"
    await uploads.validate(model_id)
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_a_healed_model_takes_no_verdict_on_what_it_was(uploads: Uploads) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    old = await asked_for(uploads, model_id)
    await lose(uploads, await key_of(uploads, model_id, WEIGHTS))
    await uploads.upload_directory(FILES, "two")
    asked = await asked_for(uploads, model_id)
    assert asked.validation_id != old.validation_id
    await uploads.deliver(ModelValidated(model_id=model_id, validation_id=old.validation_id, report=report(), at=NOON))
    assert (await uploads.model(model_id))["status"] == "validating"
    requests = [event for event in await uploads.emitted(ModelValidationRequested) if event.model_id == model_id]
    assert len(requests) == 2


async def test_a_model_that_is_being_registered_while_its_object_is_lost_is_in_error_too(uploads: Uploads) -> None:
    """The loss waits for the registration that counts on the object, and then sees its model."""
    first = await ready_model(uploads, "first")
    lost = await key_of(uploads, first, WEIGHTS)
    content = FILES[WEIGHTS]
    file = StoredFile(path=WEIGHTS, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key="new")
    async with transaction(uploads.pool) as tx:
        claimed = await model_files.claim(tx, PROJECT, [file])
        assert claimed.keys == {file.sha256: lost}
        losing = asyncio.create_task(uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[lost], at=NOON)))
        await someone_waits_for_a_lock(uploads)
        model_id, _ = await transitions.create(tx, PROJECT, "second", None)
        await transitions.process(tx, model_id)
        await registration.register(tx, PROJECT, model_id, [file], upload_id="second", at=NOON)
    await losing
    assert (await uploads.model(model_id))["status_reason"].startswith(WEIGHTS)


async def test_a_registration_that_finds_the_object_being_lost_brings_its_own(uploads: Uploads) -> None:
    first = await ready_model(uploads, "first")
    lost = await key_of(uploads, first, WEIGHTS)
    content = FILES[WEIGHTS]
    file = StoredFile(path=WEIGHTS, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key="new")

    async def claim() -> Claimed:
        async with transaction(uploads.pool) as tx:
            return await model_files.claim(tx, PROJECT, [file])

    async with transaction(uploads.pool) as tx:
        await model_files.mark_missing(tx, PROJECT, [lost], NOON)
        claiming = asyncio.create_task(claim())
        await someone_waits_for_a_lock(uploads)
    assert await claiming == Claimed(keys={file.sha256: "new"}, replaced={file.sha256: lost})
