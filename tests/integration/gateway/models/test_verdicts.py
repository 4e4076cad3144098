"""Models follow the validator: asked until there is a verdict, parked while there can be none, given up after days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from libs.contracts import ModelRejected, ModelValidated, ModelValidationRequested, id_of
from libs.db import connection
from services.gateway.deadlines import PAUSES
from services.gateway.models.sweepers import ask_verdicts_again, give_verdicts_up
from tests.integration.gateway.harness import FILES, NOON, STALE_AFTER, Uploads
from tests.integration.gateway.models.verdicts import SYMLINK, asked_for, parked, report

DAYS = timedelta(days=7)


async def asked_through_all_pauses(uploads: Uploads, since: datetime) -> datetime:
    """The sweepers have asked as often as there are pauses; the time by then."""
    now = since
    for pause in PAUSES:
        now += pause + timedelta(seconds=1)
        await ask_verdicts_again(uploads.pool, now, STALE_AFTER)
    return now


async def test_a_verdict_makes_the_model_ready_with_what_was_found(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    await uploads.validate(done["model_id"])
    ready = await uploads.model(done["model_id"])
    assert (ready["status"], ready["status_reason"], ready["deployable"]) == ("ready", None, True)


async def test_a_verdict_with_errors_makes_the_model_error_with_the_first_as_its_reason(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    rejected = ModelRejected(
        model_id=done["model_id"], validation_id=asked.validation_id, report=report(SYMLINK, SYMLINK), at=NOON
    )
    await uploads.deliver(rejected)
    await uploads.deliver(rejected)

    model = await uploads.model(done["model_id"])
    assert model["status"] == "error"
    assert model["status_reason"].startswith("a.json: is a link. Use tar -h. (1 more")
    assert model["architecture"] == "LlamaForCausalLM"
    assert model["deployable"] is False
    shown = await uploads.call("GET", f"models/{done['model_id']}/report")
    assert [finding["rule"] for finding in shown["findings"]] == ["tar-symlink"] * 2


async def test_a_verdict_that_nobody_asked_for_changes_nothing(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    await uploads.deliver(ModelValidated(model_id=done["model_id"], validation_id="other", report=report(), at=NOON))
    await uploads.deliver(ModelValidated(model_id="unknown", validation_id="other", report=report(), at=NOON))
    assert (await uploads.model(done["model_id"]))["status"] == "validating"


async def test_a_verdict_is_asked_for_again_with_growing_pauses_under_ids_of_what_is_asked(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    first = await asked_for(uploads, done["model_id"])
    assert first.id == id_of("model.validation_requested", first.validation_id, 1)
    pauses = [*PAUSES, PAUSES[-1]]
    now = datetime.now(UTC)
    for ask, pause in enumerate(pauses, start=2):
        await ask_verdicts_again(uploads.pool, now + pause - timedelta(seconds=3), STALE_AFTER)  # too early
        now += pause + timedelta(seconds=1)
        await ask_verdicts_again(uploads.pool, now, STALE_AFTER)
        await ask_verdicts_again(uploads.pool, now, STALE_AFTER)  # another gateway, at the same time
        assert len(await uploads.emitted(ModelValidationRequested)) == ask
        again = await asked_for(uploads, done["model_id"])
        assert again.id == id_of("model.validation_requested", first.validation_id, ask)
        assert (again.validation_id, again.resume) == (first.validation_id, False)
        assert {file.key for file in again.files} == {file.key for file in first.files}


async def test_a_parked_model_says_what_it_waits_for_until_its_verdict(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    asked = await asked_for(uploads, done["model_id"])
    retry_at = datetime.now(UTC) + timedelta(minutes=10)
    await uploads.deliver(parked(asked, retry_at))

    model = await uploads.model(done["model_id"])
    assert (model["status"], model["status_reason"]) == ("validating", "storage is away.")
    await ask_verdicts_again(uploads.pool, retry_at, STALE_AFTER)  # the validator tries again by itself
    assert len(await uploads.emitted(ModelValidationRequested)) == 1

    await uploads.validate(done["model_id"])
    model = await uploads.model(done["model_id"])
    assert (model["status"], model["status_reason"]) == ("ready", None)
    await uploads.deliver(parked(asked, retry_at))  # late
    assert (await uploads.model(done["model_id"]))["status_reason"] is None


async def test_what_is_parked_of_another_validation_is_not_shown(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    asked = await asked_for(uploads, done["model_id"])
    other = ModelValidationRequested(
        model_id=asked.model_id, project_id=asked.project_id, validation_id="other", files=[], at=NOON
    )
    await uploads.deliver(parked(other, NOON))
    assert (await uploads.model(done["model_id"]))["status_reason"] is None


async def test_an_error_of_ours_parks_the_model_and_its_verdict_is_asked_for_again(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    asked = await asked_for(uploads, done["model_id"])
    verdict = ModelValidated(model_id=done["model_id"], validation_id=asked.validation_id, report=report(), at=NOON)
    for event in (asked, verdict):
        await uploads.give_up(event, "validator")
        model = await uploads.model(done["model_id"])
        assert model["status"] == "validating"
        assert "ZeroDivisionError" in model["status_reason"]

    await ask_verdicts_again(uploads.pool, datetime.now(UTC) + timedelta(minutes=1), STALE_AFTER)
    assert len(await uploads.emitted(ModelValidationRequested)) == 2
    await uploads.deliver(verdict)
    assert (await uploads.model(done["model_id"]))["status"] == "ready"


async def test_validating_ends_after_days_with_its_true_reason(uploads: Uploads) -> None:
    parked_model = (await uploads.upload_directory(FILES, "parked"))["model_id"]
    silent_model = (await uploads.upload_directory(FILES, "silent"))["model_id"]
    ready_model = (await uploads.upload_directory(FILES, "ready"))["model_id"]
    await uploads.validate(ready_model)
    now = await asked_through_all_pauses(uploads, datetime.now(UTC))
    await uploads.deliver(parked(await asked_for(uploads, parked_model), now, "storage refuses config.json."))

    await give_verdicts_up(uploads.pool, now, DAYS)
    assert (await uploads.model(parked_model))["status"] == "validating"
    await give_verdicts_up(uploads.pool, now + DAYS, DAYS)

    reasons = {}
    for model_id in (parked_model, silent_model, ready_model):
        model = await uploads.model(model_id)
        reasons[model_id] = (model["status"], model["status_reason"])
    status, reason = reasons[parked_model]
    assert status == "error"
    assert reason.startswith("No verdict came within 7 days: storage refuses config.json. The operator")
    assert "the validator did not answer" in (reasons[silent_model][1] or "")
    assert reasons[ready_model] == ("ready", None)


async def test_nothing_is_given_up_that_was_not_asked_for_meanwhile(uploads: Uploads) -> None:
    """After a week in which this installation stood still, models are asked for first."""
    done = await uploads.upload_directory(FILES)
    await give_verdicts_up(uploads.pool, datetime.now(UTC) + 2 * DAYS, DAYS)
    assert (await uploads.model(done["model_id"]))["status"] == "validating"


async def test_models_that_the_previous_release_left_validating_have_a_last_deadline_too(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    now = await asked_through_all_pauses(uploads, datetime.now(UTC))
    async with connection(uploads.pool) as tx:
        await tx.execute("UPDATE model SET validating_since = NULL")
    await give_verdicts_up(uploads.pool, now + DAYS, DAYS)
    assert (await uploads.model(done["model_id"]))["status"] == "error"
