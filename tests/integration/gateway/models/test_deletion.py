"""Deleting a model: invisible at once, restored for a while, then erased with what no other model has."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.contracts import (
    Event,
    ModelDeleted,
    ModelErased,
    ModelRegistered,
    ModelRejected,
    ModelRestored,
    ModelValidated,
    ModelValidationRequested,
    ObjectDropped,
    ObjectFound,
    ObjectMissing,
    StoredFile,
    UploadAborted,
)
from libs.db import connection, transaction
from libs.outbox import emit
from services.gateway.models import deletion, registration, transitions
from services.gateway.models.store import files as model_files
from services.gateway.models.sweepers import erase_deleted, expire_failed
from services.gateway.uploads.sweepers import prune_uploads
from tests.integration.gateway.harness import FILES, NOON, PROJECT, Uploads
from tests.integration.gateway.models.locks import someone_waits_for_a_lock
from tests.integration.gateway.models.verdicts import SYMLINK, asked_for, report

WEIGHTS, CONFIG = "model.safetensors", "config.json"
GRACE = timedelta(days=7)  # the setting, by default
RETAINED = timedelta(days=30)


async def ready_model(uploads: Uploads, name: str = "tiny", files: dict[str, bytes] = FILES) -> str:
    model_id = str((await uploads.upload_directory(files, name))["model_id"])
    await uploads.validate(model_id)
    return model_id


async def delete(uploads: Uploads, model: str) -> dict[str, Any]:
    return await uploads.call("DELETE", f"models/{model}")


async def restore(uploads: Uploads, model_id: str, status: int = 200) -> dict[str, Any]:
    return await uploads.call("POST", f"models/{model_id}/restore", status)


async def after_the_grace(uploads: Uploads) -> None:
    """The sweep, once nothing can be restored any more."""
    await erase_deleted(uploads.pool, datetime.now(UTC) + GRACE + timedelta(minutes=1))


async def versions(uploads: Uploads, name: str = "tiny") -> dict[str, bool]:
    """The versions of a name that are shown, and whether each is the latest."""
    return {
        model["version"]: model["isLatest"] for model in (await uploads.call("GET", f"models?name={name}"))["models"]
    }


async def keys_of(uploads: Uploads, model_id: str) -> dict[str, str]:
    """Where the files are, as the registry told last."""
    registered = [event for event in await uploads.emitted(ModelRegistered) if event.model_id == model_id]
    return {file.path: file.key for file in registered[-1].files}


async def dropped(uploads: Uploads) -> list[str]:
    return sorted(key for event in await uploads.emitted(ObjectDropped) for key in event.keys)


async def test_a_deleted_model_is_answered_as_documented_and_seen_by_no_read(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    before = datetime.now(UTC)
    answer = await delete(uploads, model_id)
    until = answer.pop("restorable_until")
    assert answer == {"deleted": True, "modelId": model_id, "id": model_id, "object": "model", "version": "1.0.0"}
    assert before + GRACE - timedelta(seconds=2) < datetime.fromisoformat(until) < before + GRACE + timedelta(minutes=1)

    paths = ["", "?extended=true", "/versions", "/files", f"/files/{CONFIG}", "/report"]
    for path in [f"models/{model}{path}" for model in (model_id, "tiny") for path in paths]:
        error = (await uploads.call("GET", path, 404))["error"]
        assert (error["code"], error["type"]) == ("model_not_found", "not_found_error")
    listed = await uploads.call("GET", "models")
    assert (listed["models"], listed["data"]) == ([], [])

    [event] = await uploads.emitted(ModelDeleted)
    assert (event.model_id, event.project_id) == (model_id, PROJECT)
    assert event.erase_at.strftime("%Y-%m-%dT%H:%M:%SZ") == until
    assert await dropped(uploads) == []


async def test_deleting_again_finds_nothing(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await delete(uploads, model_id)
    for model in (model_id, "tiny", "another"):
        error = (await uploads.call("DELETE", f"models/{model}", 404))["error"]
        assert error["code"] == "model_not_found"
    assert len(await uploads.emitted(ModelDeleted)) == 1


async def test_only_the_list_of_deleted_models_shows_them_until_they_are_erased(uploads: Uploads) -> None:
    first, second = await ready_model(uploads), await ready_model(uploads)
    kept = await ready_model(uploads, "kept")
    for model_id in (first, second):
        await delete(uploads, model_id)
    listed = await uploads.call("GET", "models?deleted=true")
    assert [model["id"] for model in listed["models"]] == [second, first]
    assert {model["status"] for model in listed["models"]} == {"deleting"}
    assert all(model["deletedAt"] < model["restorableUntil"] for model in listed["models"])
    page = await uploads.call("GET", f"models?deleted=true&limit=1&after={second}")
    assert ([model["id"] for model in page["models"]], page["has_more"]) == ([first], False)
    assert (await uploads.call("GET", "models?deleted=true&name=other"))["models"] == []
    [shown] = (await uploads.call("GET", "models"))["models"]
    assert shown["id"] == kept
    assert "deletedAt" not in shown

    await after_the_grace(uploads)
    assert (await uploads.call("GET", "models?deleted=true"))["models"] == []


async def test_a_name_is_deleted_version_by_version_from_the_latest_on(uploads: Uploads) -> None:
    for _ in range(3):
        await ready_model(uploads)
    unusable = (await uploads.upload_directory(FILES))["model_id"]
    assert await versions(uploads) == {"1.3.0": False, "1.2.0": True, "1.1.0": False, "1.0.0": False}
    assert (await delete(uploads, "tiny"))["version"] == "1.2.0"
    assert await versions(uploads) == {"1.3.0": False, "1.1.0": True, "1.0.0": False}
    assert (await delete(uploads, "tiny"))["version"] == "1.1.0"
    assert (await delete(uploads, "tiny"))["version"] == "1.0.0"
    assert await versions(uploads) == {"1.3.0": True}
    assert (await delete(uploads, "tiny"))["id"] == unusable
    assert await versions(uploads) == {}


async def test_a_restored_model_is_what_it_was(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    was = await uploads.model(model_id)
    await delete(uploads, model_id)
    restored = await restore(uploads, model_id)
    assert {**restored, "updated_at": was["updated_at"]} == was
    assert await restore(uploads, model_id) == restored
    async with uploads.client.get(f"/v1/models/tiny/files/{WEIGHTS}") as response:
        assert await response.read() == FILES[WEIGHTS]
    [event] = await uploads.emitted(ModelRestored)
    assert (event.model_id, event.project_id) == (model_id, PROJECT)
    await after_the_grace(uploads)
    assert (await uploads.model(model_id))["status"] == "ready"
    assert await dropped(uploads) == []


async def test_a_restored_version_is_the_latest_again_unless_a_newer_one_is_ready(uploads: Uploads) -> None:
    first = await ready_model(uploads)
    second = await ready_model(uploads)
    await delete(uploads, second)
    await delete(uploads, first)
    await restore(uploads, first)
    assert await versions(uploads) == {"1.0.0": True}
    await restore(uploads, second)
    assert await versions(uploads) == {"1.1.0": True, "1.0.0": False}
    await delete(uploads, first)
    await restore(uploads, first)
    assert await versions(uploads) == {"1.1.0": True, "1.0.0": False}


@pytest.mark.parametrize("model", ["tiny", "unknown"])
async def test_what_is_not_deleted_by_that_id_is_not_restored(uploads: Uploads, model: str) -> None:
    await ready_model(uploads)
    error = (await restore(uploads, model, 404))["error"]
    assert error["code"] == "model_not_found"
    assert "GET models?deleted=true" in error["message"]


async def test_a_model_is_not_restored_after_the_grace(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await delete(uploads, model_id)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET erase_at = now()")
    assert (await restore(uploads, model_id, 404))["error"]["code"] == "model_not_found"
    assert (await uploads.call("GET", "models?deleted=true"))["models"] == []
    await after_the_grace(uploads)
    assert (await restore(uploads, model_id, 404))["error"]["code"] == "model_not_found"


async def test_another_projects_model_is_neither_deleted_nor_restored(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    async with connection(uploads.pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ('proj_BBBBB00000', 'other', 'other')")
        await tx.execute("UPDATE model SET project_id = 'proj_BBBBB00000'")
    assert (await uploads.call("DELETE", f"models/{model_id}", 404))["error"]["code"] == "model_not_found"
    async with connection(uploads.pool) as tx:
        await tx.execute(
            """
            UPDATE model SET status_before_deleting = status, status = 'deleting', erase_at = 'infinity',
                             deleted_at = now()
            """
        )
    assert (await restore(uploads, model_id, 404))["error"]["code"] == "model_not_found"
    assert (await uploads.call("GET", "models?deleted=true"))["models"] == []


async def test_a_deleted_version_can_be_uploaded_anew_and_is_then_in_the_way(uploads: Uploads) -> None:
    first = await ready_model(uploads)
    await delete(uploads, first)
    opened = await uploads.open_directory(FILES, version="1.0.0")
    error = (await restore(uploads, first, 409))["error"]
    assert error["type"] == "conflict_error"
    assert error["message"].startswith("Version 1.0.0 of model 'tiny' was uploaded anew")
    assert opened["model_id"] in error["message"]
    await delete(uploads, opened["model_id"])
    assert (await restore(uploads, first))["is_latest"] is True


async def test_a_version_that_may_come_back_is_not_given_to_the_next_upload(uploads: Uploads) -> None:
    await delete(uploads, await ready_model(uploads))
    assert (await uploads.open_directory(FILES))["version"] == "1.1.0"
    await after_the_grace(uploads)
    assert (await uploads.open_directory(FILES, "tiny", version="1.0.0"))["version"] == "1.0.0"


async def test_deleting_a_model_whose_upload_is_open_aborts_it(uploads: Uploads) -> None:
    opened = await uploads.open_directory(FILES)
    answer = await delete(uploads, opened["model_id"])
    assert (answer["deleted"], answer["restorable_until"]) == (True, None)
    [aborted] = await uploads.emitted(UploadAborted)
    assert aborted.upload_id == opened["session_id"]
    assert (await uploads.call("GET", f"uploads/{opened['session_id']}"))["status"] == "aborted"
    assert (await uploads.call("GET", "models?deleted=true"))["models"] == []
    await restore(uploads, opened["model_id"], 404)
    assert (await uploads.open_directory(FILES))["version"] == "1.0.0"


async def test_a_model_that_waits_for_its_verdict_waits_for_a_new_one_when_it_is_restored(uploads: Uploads) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    asked = await asked_for(uploads, model_id)
    await delete(uploads, model_id)
    late = ModelValidated(model_id=model_id, validation_id=asked.validation_id, report=report(), at=NOON)
    await uploads.deliver(late)
    assert (await restore(uploads, model_id))["status"] == "validating"
    again = await asked_for(uploads, model_id)
    assert again.validation_id != asked.validation_id
    await uploads.deliver(
        ModelValidated(model_id=model_id, validation_id=asked.validation_id, report=report(), at=NOON)
    )
    assert (await uploads.model(model_id))["status"] == "validating"
    await uploads.validate(model_id)
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_late_events_of_a_deleted_or_erased_model_change_nothing(uploads: Uploads) -> None:
    """Each twice: what the validator and lifecycle say of it, and dead letters."""
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    asked = await asked_for(uploads, model_id)
    keys = [file.key for file in asked.files]
    await delete(uploads, model_id)
    late: list[Event] = [
        ModelValidated(model_id=model_id, validation_id=asked.validation_id, report=report(), at=NOON),
        ModelRejected(model_id=model_id, validation_id=asked.validation_id, report=report(SYMLINK), at=NOON),
        ObjectMissing(project_id=PROJECT, keys=keys, at=NOON),
        ObjectFound(project_id=PROJECT, keys=keys, at=NOON + timedelta(hours=1)),
    ]
    for phase in ("deleted", "erased"):
        told = len(await uploads.emitted(Event))
        for event in [*late, *late]:
            await uploads.deliver(event)
        await uploads.give_up(asked, "validator")
        assert len(await uploads.emitted(Event)) == told, phase
        assert (await uploads.call("GET", "models"))["models"] == []
        if phase == "deleted":
            await after_the_grace(uploads)


# What is erased


async def test_an_erased_model_leaves_nothing_but_what_other_models_have(uploads: Uploads) -> None:
    other = await ready_model(uploads, "other", {**FILES, WEIGHTS: b"other weights"})
    model_id = await ready_model(uploads)
    keys = await keys_of(uploads, model_id)
    assert keys[CONFIG] == (await keys_of(uploads, other))[CONFIG]
    await delete(uploads, model_id)
    await erase_deleted(uploads.pool, datetime.now(UTC) + GRACE - timedelta(minutes=1))
    assert await uploads.emitted(ModelErased) == []

    await after_the_grace(uploads)
    await after_the_grace(uploads)
    [erased] = await uploads.emitted(ModelErased)
    assert (erased.model_id, erased.project_id) == (model_id, PROJECT)
    [drop] = await uploads.emitted(ObjectDropped)
    assert (drop.keys, drop.project_id, drop.reason) == ([keys[WEIGHTS]], PROJECT, "model_deleted")
    async with connection(uploads.pool) as tx:
        left = await tx.fetch("SELECT model_id FROM model_file UNION SELECT id FROM model")
        contents = await tx.fetchval("SELECT count(*) FROM blob")
    assert ([row["model_id"] for row in left], contents) == ([other], 2)

    await delete(uploads, other)
    await after_the_grace(uploads)
    assert await dropped(uploads) == sorted({*keys.values(), *(await keys_of(uploads, other)).values()})


async def test_an_object_stays_while_a_deleted_model_that_has_it_may_be_restored(uploads: Uploads) -> None:
    first, second = await ready_model(uploads, "one"), await ready_model(uploads, "two")
    await delete(uploads, first)
    await delete(uploads, second)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET erase_at = now() WHERE id = $1", first)
    await erase_deleted(uploads.pool, datetime.now(UTC))
    assert [event.model_id for event in await uploads.emitted(ModelErased)] == [first]
    assert await dropped(uploads) == []
    await restore(uploads, second)


async def test_the_row_of_an_upload_goes_with_the_model_that_it_brought(uploads: Uploads) -> None:
    """Days after its end there is nothing but that row, which answers its client as long as the model is there."""
    model_id = await ready_model(uploads)
    kept = await ready_model(uploads, "kept")
    await prune_uploads(uploads.pool, datetime.now(UTC) + timedelta(days=8), timedelta(days=7))
    await delete(uploads, model_id)
    await after_the_grace(uploads)
    assert [upload["model_id"] for upload in (await uploads.call("GET", "uploads"))["data"]] == [kept]


async def test_many_models_are_erased_in_batches_of_bounded_events(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.models.sweepers.ERASED_AT_ONCE", 2)
    monkeypatch.setattr(deletion, "KEYS_AT_ONCE", 2)
    models = [
        await ready_model(uploads, f"model-{n}", {CONFIG: b"{}", WEIGHTS: b"%d" % n, "a.txt": b"a%d" % n})
        for n in range(5)
    ]
    keys = {key for model_id in models for key in (await keys_of(uploads, model_id)).values()}
    for model_id in models:
        await delete(uploads, model_id)
    await after_the_grace(uploads)
    assert {event.model_id for event in await uploads.emitted(ModelErased)} == {*models}
    assert await dropped(uploads) == sorted(keys)
    assert max(len(event.keys) for event in await uploads.emitted(ObjectDropped)) == 2


async def test_a_large_deletion_goes_on_in_the_next_round(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.models.sweepers.ERASED_AT_ONCE", 2)
    monkeypatch.setattr("services.gateway.models.sweepers.BATCHES_AT_ONCE", 2)
    for n in range(5):
        await delete(uploads, await ready_model(uploads, f"model-{n}"))
    await after_the_grace(uploads)
    assert len(await uploads.emitted(ModelErased)) == 4
    await after_the_grace(uploads)
    assert len(await uploads.emitted(ModelErased)) == 5


async def test_completing_the_upload_of_an_erased_model_again_says_that_it_is_gone(uploads: Uploads) -> None:
    opened = await uploads.open_directory(FILES)
    for path, data in FILES.items():
        await uploads.send_file(opened["session_id"], path, data)
    done = await uploads.complete(opened["session_id"])
    await delete(uploads, done["model_id"])
    assert await uploads.complete(opened["session_id"]) == done
    await after_the_grace(uploads)
    error = (await uploads.complete(opened["session_id"], 404))["error"]
    assert (error["code"], "deleted" in error["message"]) == ("model_not_found", True)


async def test_a_shared_model_is_unshared_by_its_deletion(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET is_shared = true, catalog_role = 'deployable', shared_at = now()")
    await delete(uploads, model_id)
    restored = await restore(uploads, model_id)
    assert (restored["is_shared"], restored["catalog_role"]) == (False, None)


async def test_two_gateways_erase_a_model_once(uploads: Uploads) -> None:
    for n in range(3):
        await delete(uploads, await ready_model(uploads, f"model-{n}"))
    await asyncio.gather(*(after_the_grace(uploads) for _ in range(4)))
    assert len(await uploads.emitted(ModelErased)) == 3
    assert len(await dropped(uploads)) == len(FILES)


async def test_an_upload_that_was_to_share_an_erased_content_asks_for_it_again(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    listed = [
        {"relative_path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in FILES.items()
    ]
    await delete(uploads, model_id)
    opened = await uploads.call("POST", "uploads/directory", json={"model_name": "again", "files": listed})
    assert all(slot["present"] for slot in opened["files"])
    await after_the_grace(uploads)

    error = (await uploads.complete(opened["session_id"], 409))["error"]
    assert CONFIG in error["message"]
    for path, data in FILES.items():
        await uploads.send_file(opened["session_id"], path, data)
    await uploads.complete(opened["session_id"])
    await uploads.validate(opened["model_id"])
    new = await keys_of(uploads, opened["model_id"])
    assert not {*new.values()} & {*await dropped(uploads)}
    async with uploads.client.get(f"/v1/models/again/files/{WEIGHTS}") as response:
        assert await response.read() == FILES[WEIGHTS]


def weights_file(key: str) -> StoredFile:
    content = FILES[WEIGHTS]
    return StoredFile(path=WEIGHTS, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key=key)


async def test_a_content_that_is_being_registered_is_not_erased(uploads: Uploads) -> None:
    """The sweep waits for the registration that shares it, and then sees its model."""
    first = await ready_model(uploads, "first")
    shared = (await keys_of(uploads, first))[WEIGHTS]
    await delete(uploads, first)
    async with transaction(uploads.pool) as tx:
        assert (await model_files.claim(tx, PROJECT, [weights_file("new")])).keys == {weights_file("").sha256: shared}
        erasing = asyncio.create_task(after_the_grace(uploads))
        await someone_waits_for_a_lock(uploads)
        model_id, _ = await transitions.create(tx, PROJECT, "second", None)
        await transitions.process(tx, model_id)
        await emit(
            tx, await registration.register(tx, PROJECT, model_id, [weights_file("new")], upload_id="2", at=NOON)
        )
    await erasing
    assert [event.model_id for event in await uploads.emitted(ModelErased)] == [first]
    assert shared not in await dropped(uploads)
    assert (await keys_of(uploads, model_id))[WEIGHTS] == shared


async def test_a_registration_that_finds_its_content_being_erased_brings_its_own(uploads: Uploads) -> None:
    first = await ready_model(uploads, "first")
    await delete(uploads, first)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET erase_at = now()")

    async def claim() -> dict[str, str]:
        async with transaction(uploads.pool) as tx:
            return (await model_files.claim(tx, PROJECT, [weights_file("new")])).keys

    async with transaction(uploads.pool) as tx:
        due, events = await deletion.erase(tx, datetime.now(UTC), 10)
        claiming = asyncio.create_task(claim())
        await someone_waits_for_a_lock(uploads)
        await emit(tx, events)
    assert due == 1
    assert await claiming == {weights_file("").sha256: "new"}


async def test_a_model_is_either_restored_or_erased(uploads: Uploads) -> None:
    for n in range(5):
        model_id = await ready_model(uploads, f"model-{n}")
        await delete(uploads, model_id)
        async with connection(uploads.pool) as tx:
            await tx.execute("UPDATE model SET erase_at = now() + interval '1 hour'")

        async def restored(model_id: str = model_id) -> bool:
            async with uploads.client.post(f"/v1/models/{model_id}/restore") as response:
                return response.status == 200

        back, _ = await asyncio.gather(restored(), after_the_grace(uploads))
        erased = {event.model_id for event in await uploads.emitted(ModelErased)}
        assert back == (model_id not in erased)
        if back:
            assert (await uploads.model(model_id))["file_count"] == len(FILES)
            await delete(uploads, model_id)
            await after_the_grace(uploads)


# What storage loses meanwhile


async def test_a_model_whose_file_was_lost_while_it_was_deleted_says_so_when_it_is_restored(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    lost = (await keys_of(uploads, model_id))[WEIGHTS]
    await delete(uploads, model_id)
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[lost], at=NOON))
    restored = await restore(uploads, model_id)
    assert restored["status"] == "error"
    assert restored["status_reason"].startswith(f"{WEIGHTS} is no longer in storage")
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=[lost], at=NOON + timedelta(hours=1)))
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_a_model_that_lacked_a_file_is_whole_when_it_was_found_before_it_is_restored(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    lost = (await keys_of(uploads, model_id))[WEIGHTS]
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[lost], at=NOON))
    await delete(uploads, model_id)
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=[lost], at=NOON + timedelta(hours=1)))
    restored = await restore(uploads, model_id)
    assert (restored["status"], restored["status_reason"], restored["is_latest"]) == ("ready", None, True)


async def test_a_content_that_was_uploaded_again_heals_a_deleted_model_too(uploads: Uploads) -> None:
    """Also where what had brought it is erased before the other is restored."""
    model_id = await ready_model(uploads)
    lost = (await keys_of(uploads, model_id))[WEIGHTS]
    await uploads.dependencies.blobs.delete([lost])
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[lost], at=NOON))
    await delete(uploads, model_id)
    healer = await ready_model(uploads, "healer")
    new = (await keys_of(uploads, healer))[WEIGHTS]
    assert (await keys_of(uploads, model_id))[WEIGHTS] == new != lost

    await delete(uploads, healer)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET erase_at = now() WHERE id = $1", healer)
    await erase_deleted(uploads.pool, datetime.now(UTC))
    assert new not in await dropped(uploads)
    assert (await restore(uploads, model_id))["status"] == "ready"
    async with uploads.client.get(f"/v1/models/{model_id}/files/{WEIGHTS}") as response:
        assert await response.read() == FILES[WEIGHTS]


# Models in error


async def in_error(uploads: Uploads, name: str) -> str:
    model_id = str((await uploads.upload_directory({**FILES, WEIGHTS: name.encode()}, name))["model_id"])
    asked = await asked_for(uploads, model_id)
    await uploads.deliver(
        ModelRejected(model_id=model_id, validation_id=asked.validation_id, report=report(SYMLINK), at=NOON)
    )
    return model_id


async def test_models_in_error_leave_nothing_after_their_retention(uploads: Uploads) -> None:
    rejected = await in_error(uploads, "rejected")
    keys = await keys_of(uploads, rejected)
    unfinished = str((await uploads.open_directory(FILES, "unfinished"))["model_id"])
    async with transaction(uploads.pool) as tx:
        await transitions.fail(tx, unfinished, "The upload was not completed.")
    ready = await ready_model(uploads, "ready", {**FILES, WEIGHTS: b"ready"})
    await expire_failed(uploads.pool, datetime.now(UTC) + RETAINED - timedelta(minutes=1), RETAINED)
    assert await uploads.emitted(ModelErased) == []

    await expire_failed(uploads.pool, datetime.now(UTC) + RETAINED + timedelta(minutes=1), RETAINED)
    assert {event.model_id for event in await uploads.emitted(ModelErased)} == {rejected, unfinished}
    assert await dropped(uploads) == [keys[WEIGHTS]]
    assert [model["id"] for model in (await uploads.call("GET", "models"))["models"]] == [ready]


async def test_models_that_may_heal_are_kept_in_error(uploads: Uploads) -> None:
    """They lack files, or their verdict was given up by no fault of their client."""
    lacking = await ready_model(uploads, "lacking")
    await uploads.deliver(
        ObjectMissing(project_id=PROJECT, keys=list((await keys_of(uploads, lacking)).values()), at=NOON)
    )
    given_up = str((await uploads.upload_directory({**FILES, WEIGHTS: b"2"}, "given-up"))["model_id"])
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET asked = 100 WHERE id = $1", given_up)
    async with transaction(uploads.pool) as tx:
        assert await registration.give_up(tx, datetime.now(UTC) + RETAINED, timedelta()) == [given_up]
    await expire_failed(uploads.pool, datetime.now(UTC) + 2 * RETAINED, RETAINED)
    assert await uploads.emitted(ModelErased) == []
    assert {(await uploads.model(each))["status"] for each in (lacking, given_up)} == {"error"}


async def test_the_newest_version_left_is_the_latest_when_one_in_error_expires(uploads: Uploads) -> None:
    await in_error(uploads, "tiny")
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET updated_at = '-infinity'")
    await uploads.open_directory(FILES)
    assert await versions(uploads) == {"1.1.0": False, "1.0.0": True}
    await expire_failed(uploads.pool, datetime.now(UTC), RETAINED)
    assert await versions(uploads) == {"1.1.0": True}


async def test_no_question_is_asked_about_a_deleted_model(uploads: Uploads) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    await delete(uploads, model_id)
    async with transaction(uploads.pool) as tx:
        assert await registration.ask_again(tx, datetime.now(UTC) + timedelta(days=1), 10, at=NOON) == []
        assert await registration.resume(tx, model_id, at=NOON) is None
    assert len(await uploads.emitted(ModelValidationRequested)) == 1
