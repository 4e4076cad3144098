"""The registry follows other services' events: once each, whenever they come, and asks again when they do not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from libs.bus import DeadLetter
from libs.contracts import (
    ArchiveProgressed,
    ArchiveRejected,
    Finding,
    ModelMetadata,
    ModelRegistered,
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    ObjectDropped,
    ObjectUnclaimed,
    Report,
    UploadExpired,
    UploadFailed,
    UploadOpened,
    encode_event,
    event_type,
)
from libs.contracts.keys import member_key, part_key
from libs.db import transaction
from services.gateway.handlers import handlers
from services.gateway.models.sweepers import ask_verdicts_again
from services.gateway.uploads.lifetimes import lifetime
from services.gateway.uploads.sweepers import ask_extractor_again, expire_sessions
from tests.integration.gateway.uploading import FILES, NOON, PROJECT, Uploads, extracted

SYMLINK = Finding(rule="tar-symlink", severity="error", message="is a link.", fix="Use tar -h.", file="a.json")
NEXT = timedelta(minutes=1)


async def given_part(uploads: Uploads, size: int = 10) -> dict[str, str]:
    opened = await uploads.open_archive(size)
    await uploads.send_part(opened["session_id"], 0, b"x" * size)
    return opened


def report(*findings: Finding) -> Report:
    metadata = ModelMetadata(architecture="LlamaForCausalLM", quantization="native", context_length=2048)
    return Report(findings=list(findings), metadata=metadata, files_read=2, bytes_read=100, validator="test")


async def test_a_rejected_archive_fails_the_session_and_the_next_part_is_told_why(uploads: Uploads):
    opened = await uploads.open_archive(2000)
    session = opened["session_id"]
    await uploads.send_part(session, 0, b"x" * 1000)
    rejected = ArchiveRejected(upload_id=session, stream_id=f"{session}-0", finding=SYMLINK, at=NOON)
    await uploads.tell(rejected)
    await uploads.tell(rejected)

    refused = await uploads.send_part(session, 1, b"x" * 1000, status=422)
    assert refused["error"]["code"] == "archive_rejected"
    assert refused["error"]["message"] == "a.json: is a link. Use tar -h."
    assert refused["error"]["finding"]["rule"] == "tar-symlink"
    assert (await uploads.model(opened["model_id"]))["status_reason"] == "a.json: is a link. Use tar -h."
    assert (await uploads.call("GET", f"uploads/{session}"))["error"]["finding"]["rule"] == "tar-symlink"
    assert len(await uploads.emitted(UploadFailed)) == 1
    assert (await uploads.complete(session, status=422))["error"]["code"] == "archive_rejected"


async def test_bytes_that_are_not_those_declared_are_called_a_checksum_mismatch(uploads: Uploads):
    opened = await given_part(uploads)
    session = opened["session_id"]
    finding = Finding(
        rule="archive-checksum", severity="error", message="its SHA-256 is another.", fix="Send it again."
    )
    await uploads.tell(ArchiveRejected(upload_id=session, stream_id=f"{session}-0", finding=finding, at=NOON))
    assert (await uploads.complete(session, status=422))["error"]["code"] == "checksum_mismatch"


async def test_extraction_that_is_told_twice_registers_once(uploads: Uploads):
    opened = await given_part(uploads)
    await uploads.complete(opened["session_id"], status=202)
    event = extracted(opened["session_id"])
    await uploads.tell(event)
    await uploads.tell(event)
    await uploads.tell(extracted(opened["session_id"]))  # told again by the extractor, as another event

    assert len(await uploads.emitted(ModelValidationRequested)) == 1


async def test_extraction_of_an_aborted_upload_registers_nothing(uploads: Uploads):
    opened = await given_part(uploads)
    await uploads.call("DELETE", f"uploads/{opened['session_id']}")
    await uploads.tell(extracted(opened["session_id"]))
    assert await uploads.emitted(ModelValidationRequested) == []


async def test_progress_only_grows(uploads: Uploads):
    opened = await given_part(uploads)
    session = opened["session_id"]
    for done, members in ((1, 5), (0, 2)):
        await uploads.tell(
            ArchiveProgressed(
                upload_id=session, stream_id=f"{session}-0", parts_done=done, members=members, bytes_out=7, at=NOON
            )
        )
    shown = await uploads.call("GET", f"uploads/{session}")
    assert shown["extraction"] == {"parts_done": 1, "members": 5, "bytes": 7}


async def test_a_verdict_makes_the_model_ready_with_what_was_found(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    await uploads.validate(done["model_id"])
    ready = await uploads.model(done["model_id"])
    assert (ready["status"], ready["status_reason"], ready["deployable"]) == ("ready", None, True)


async def test_a_verdict_with_errors_makes_the_model_error_with_the_first_as_its_reason(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    rejected = ModelRejected(
        model_id=done["model_id"], validation_id=asked.validation_id, report=report(SYMLINK, SYMLINK), at=NOON
    )
    await uploads.tell(rejected)
    await uploads.tell(rejected)

    model = await uploads.model(done["model_id"])
    assert model["status"] == "error"
    assert model["status_reason"].startswith("a.json: is a link. Use tar -h. (1 more")
    assert model["architecture"] == "LlamaForCausalLM"
    assert model["deployable"] is False
    shown = await uploads.call("GET", f"models/{done['model_id']}/report")
    assert [finding["rule"] for finding in shown["findings"]] == ["tar-symlink"] * 2


async def test_a_verdict_that_nobody_asked_for_changes_nothing(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    await uploads.tell(ModelValidated(model_id=done["model_id"], validation_id="other", report=report(), at=NOON))
    await uploads.tell(ModelValidated(model_id="unknown", validation_id="other", report=report(), at=NOON))
    assert (await uploads.model(done["model_id"]))["status"] == "validating"


async def test_unclaimed_objects_are_dropped_unless_a_model_or_a_live_upload_claims_them(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    live = (await given_part(uploads))["session_id"]
    mine = [file.key for file in asked.files]
    writing = [part_key(PROJECT, live, 0, 0, "ab"), member_key(PROJECT, live, 0, 1, 3)]
    orphans = [member_key(PROJECT, "gone", 0, 1, 0), "strange-key", member_key(PROJECT, done["model_id"], 0, 1, 9)]
    await uploads.tell(ObjectUnclaimed(project_id=PROJECT, keys=[*mine, *writing, *orphans], at=NOON))

    [dropped] = await uploads.emitted(ObjectDropped)
    assert dropped.keys == orphans
    [first, told_again] = await uploads.emitted(ModelRegistered)
    assert told_again.model_id == first.model_id
    assert told_again.files == first.files


@pytest.mark.parametrize("kind", ["stream", "model"])
async def test_what_waits_too_long_is_asked_for_again_with_all_that_is_known(uploads: Uploads, kind: str):
    now = datetime.now(UTC)
    if kind == "stream":
        opened = await uploads.open_archive(2000)
        for number in (1, 0):
            await uploads.send_part(opened["session_id"], number, b"x" * 1000)
        await ask_extractor_again(uploads.pool, now + NEXT)
        await ask_extractor_again(uploads.pool, now + NEXT)
        [first, again] = await uploads.emitted(UploadOpened)
        assert [part.number for part in first.parts] == [1]
        assert [part.number for part in again.parts] == [0, 1]
        assert again.stream == first.stream
    else:
        await uploads.upload_directory(FILES)
        await ask_verdicts_again(uploads.pool, now + NEXT, now + 2 * NEXT)
        await ask_verdicts_again(uploads.pool, now + NEXT, now + 2 * NEXT)
        [first_asked, asked_again] = await uploads.emitted(ModelValidationRequested)
        assert asked_again.validation_id == first_asked.validation_id
        assert {f.key for f in asked_again.files} == {f.key for f in first_asked.files}
        assert asked_again.id != first_asked.id


async def test_a_session_that_expires_leaves_its_model_in_error(uploads: Uploads):
    opened = await given_part(uploads)
    later = datetime.now(UTC) + timedelta(days=2)
    await expire_sessions(uploads.pool, later, lifetime(uploads.state.config))
    await expire_sessions(uploads.pool, later, lifetime(uploads.state.config))

    assert len(await uploads.emitted(UploadExpired)) == 1
    model = await uploads.model(opened["model_id"])
    assert model["status"] == "error"
    assert "24 hours" in model["status_reason"]
    error = (await uploads.call("GET", f"uploads/{opened['session_id']}"))["error"]
    assert (error["code"], error["message"]) == ("upload_expired", model["status_reason"])
    late = await uploads.send_part(opened["session_id"], 0, b"x" * 10, status=409)
    assert "expired" in late["error"]["message"]


async def test_a_dead_letter_parks_its_upload_and_shows_the_reason(uploads: Uploads):
    opened = await given_part(uploads)
    [event] = await uploads.emitted(UploadOpened)
    letter = DeadLetter(
        consumer="extractor",
        subject="upload.opened.v1",
        event_type=event_type(event),
        event_id=event.id,
        reason="ZeroDivisionError: division by zero",
        error_type="ZeroDivisionError",
        delivered=8,
        request_id=None,
        original=encode_event(event),
        at=NOON,
    )
    handle = handlers.letters[event_type(event)].handle
    async with transaction(uploads.pool) as tx:
        await handle(letter, event, tx)

    shown = await uploads.call("GET", f"uploads/{opened['session_id']}")
    assert shown["status"] == "open"
    assert "ZeroDivisionError" in shown["waiting_for"]
    assert "ZeroDivisionError" in (await uploads.complete(opened["session_id"], status=202))["waiting_for"]
    assert (await uploads.model(opened["model_id"]))["status"] == "processing"
    await uploads.tell(extracted(opened["session_id"]))
    assert (await uploads.complete(opened["session_id"]))["status"] == "completed"


async def test_downloads_give_back_the_bytes_whole_and_by_range(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    path = f"/v1/models/{done['model_id']}/files/model.safetensors"
    weights = FILES["model.safetensors"]
    async with uploads.client.get(path) as response:
        assert await response.read() == weights
        assert response.headers["ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    async with uploads.client.get(path, headers={"Range": "bytes=3-9"}) as response:
        assert response.status == 206
        assert await response.read() == weights[3:10]
        assert response.headers["Content-Range"] == f"bytes 3-9/{len(weights)}"
    async with uploads.client.get(path, headers={"Range": "bytes=9999-"}) as response:
        assert response.status == 416
