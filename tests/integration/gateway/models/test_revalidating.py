"""Checking a model anew: only from ready or error, asynchronously, and its name stays usable meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    ObjectFound,
    ObjectMissing,
)
from libs.db import connection, transaction
from services.gateway.models import registration
from services.gateway.models.states import STATES
from services.gateway.models.sweepers import expire_failed, give_verdicts_up
from tests.integration.gateway.harness import FILES, NOON, PROJECT, Uploads
from tests.integration.gateway.models.verdicts import SYMLINK, asked_for, parked, report

DAYS = timedelta(days=7)
WEIGHTS = "model.safetensors"


async def ready_model(uploads: Uploads, name: str = "tiny") -> str:
    model_id = str((await uploads.upload_directory(FILES, name))["model_id"])
    await uploads.validate(model_id)
    return model_id


async def revalidate(uploads: Uploads, model: str, status: int = 200) -> dict[str, Any]:
    return await uploads.call("POST", f"models/{model}/revalidate", status)


async def verdict(uploads: Uploads, model_id: str, *, rejected: bool) -> Event:
    """What the validator says to the last question."""
    asked = await asked_for(uploads, model_id)
    kind = ModelRejected if rejected else ModelValidated
    found = report(SYMLINK) if rejected else report()
    return kind(model_id=model_id, validation_id=asked.validation_id, report=found, at=NOON)


@pytest.mark.parametrize("before", ["ready", "error"])
async def test_it_is_answered_as_documented_and_the_last_report_stays_until_the_next(
    uploads: Uploads, before: str
) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    first = await asked_for(uploads, model_id)
    await uploads.deliver(await verdict(uploads, model_id, rejected=before == "error"))
    last = await uploads.call("GET", f"models/{model_id}/report")
    answer = await revalidate(uploads, "tiny")
    assert answer == {"id": model_id, "status": "validating", "message": "Model validation queued"}

    model = await uploads.model(model_id)
    assert (model["status"], model["status_reason"], model["is_latest"]) == ("validating", None, True)
    shown = await uploads.call("GET", f"models/{model_id}/report")
    assert {**shown, "status": before, "status_reason": last["status_reason"]} == last
    again = await asked_for(uploads, model_id)
    assert again.validation_id != first.validation_id
    assert {file.key for file in again.files} == {file.key for file in first.files}

    verdicts = [
        await verdict(uploads, model_id, rejected=rejected) for rejected in (before == "ready", before == "error")
    ]
    await uploads.deliver(verdicts[0])
    after = await uploads.model(model_id)
    assert after["status"] == ("error" if before == "ready" else "ready")
    await uploads.deliver(verdicts[0])
    await uploads.deliver(verdicts[1])  # the same question is answered once
    assert await uploads.model(model_id) == after


async def test_a_late_verdict_on_what_was_asked_before_does_not_count(uploads: Uploads) -> None:
    model_id = str((await uploads.upload_directory(FILES))["model_id"])
    late = await verdict(uploads, model_id, rejected=True)
    await uploads.validate(model_id)
    await revalidate(uploads, model_id)
    await uploads.deliver(late)
    assert (await uploads.model(model_id))["status"] == "validating"


@pytest.mark.parametrize("state", [state for state in STATES if state not in ("ready", "error", "deleting")])
async def test_in_any_other_state_it_says_in_which_it_may_be(uploads: Uploads, state: str) -> None:
    model_id = await ready_model(uploads)
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET status = $1, deadline_at = now()", state)
    error = (await revalidate(uploads, model_id, 400))["error"]
    assert (error["code"], error["type"]) == ("invalid_model_status", "invalid_request_error")
    assert error["message"] == f"This model is '{state}'; it can be checked anew when it is 'ready' or 'error'."
    assert len(await uploads.emitted(ModelValidationRequested)) == 1


async def test_a_model_that_is_deleted_or_unknown_is_not_found(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await uploads.call("DELETE", f"models/{model_id}")
    for model in (model_id, "unknown"):
        assert (await revalidate(uploads, model, 404))["error"]["code"] == "model_not_found"


async def test_a_model_whose_upload_failed_has_to_be_uploaded_again(uploads: Uploads) -> None:
    opened = await uploads.open_directory({"README.md": b"hello"})
    await uploads.send_file(opened["session_id"], "README.md", b"hello")
    await uploads.complete(opened["session_id"], 422)
    assert (await uploads.model(opened["model_id"]))["status"] == "error"
    error = (await revalidate(uploads, opened["model_id"], 400))["error"]
    assert error["code"] == "invalid_model_status"
    assert "Upload it again" in error["message"]


async def test_a_model_that_lacks_files_is_not_checked_and_names_them(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    [key] = [file.key for file in (await asked_for(uploads, model_id)).files if file.path == WEIGHTS]
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=[key], at=NOON))
    error = (await revalidate(uploads, model_id, 400))["error"]
    assert error["code"] == "invalid_model_status"
    assert f"{WEIGHTS} is no longer in storage" in error["message"]
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=[key], at=NOON + timedelta(hours=1)))
    await revalidate(uploads, model_id)


async def test_of_two_at_once_one_is_queued(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)

    async def status() -> int:
        async with uploads.client.post(f"/v1/models/{model_id}/revalidate") as response:
            return response.status

    assert sorted(await asyncio.gather(*(status() for _ in range(4)))) == [200, 400, 400, 400]
    assert len(await uploads.emitted(ModelValidationRequested)) == 2


async def test_files_that_go_missing_meanwhile_end_it_and_it_goes_on_when_they_are_back(uploads: Uploads) -> None:
    model_id = await ready_model(uploads)
    await revalidate(uploads, model_id)
    keys = [file.key for file in (await asked_for(uploads, model_id)).files]
    await uploads.deliver(ObjectMissing(project_id=PROJECT, keys=keys, at=NOON))
    assert (await uploads.model(model_id))["status"] == "error"
    await uploads.deliver(ObjectFound(project_id=PROJECT, keys=keys, at=NOON + timedelta(hours=1)))
    assert (await uploads.model(model_id))["status"] == "validating"
    await uploads.validate(model_id)
    assert (await uploads.model(model_id))["status"] == "ready"


async def test_a_name_passes_to_its_newest_usable_version_when_the_latest_is_rejected(uploads: Uploads) -> None:
    first, second, third = [await ready_model(uploads) for _ in range(3)]
    await revalidate(uploads, third)
    assert (await uploads.model("tiny"))["id"] == third
    await uploads.deliver(await verdict(uploads, third, rejected=True))
    assert (await uploads.model("tiny"))["id"] == second
    await revalidate(uploads, third)
    await uploads.validate(third)
    assert (await uploads.model("tiny"))["id"] == third

    for model_id in (third, second, first):
        await revalidate(uploads, model_id)
        await uploads.deliver(await verdict(uploads, model_id, rejected=True))
    assert (await uploads.model("tiny"))["id"] == first


async def test_a_verdict_that_never_comes_is_given_up_and_an_operator_can_have_it_tried_again(uploads: Uploads) -> None:
    """Though there is a report of before; and what is not its client's fault is never the model's end."""
    first, second = await ready_model(uploads), await ready_model(uploads)
    await revalidate(uploads, second)
    await uploads.deliver(parked(await asked_for(uploads, second), NOON))
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET asked = 100")
    later = datetime.now(UTC) + 2 * DAYS
    await give_verdicts_up(uploads.pool, later, DAYS)
    model = await uploads.model(second)
    assert (model["status"], model["is_latest"]) == ("error", False)
    assert "storage is away" in model["status_reason"]
    assert (await uploads.model("tiny"))["id"] == first

    await expire_failed(uploads.pool, later + 100 * DAYS, DAYS)
    async with transaction(uploads.pool) as tx:
        assert await registration.resume(tx, second, at=later) is not None
    await uploads.validate(second)
    assert (await uploads.model("tiny"))["id"] == second
    async with transaction(uploads.pool) as tx:
        assert await registration.resume(tx, second, at=later) is None
