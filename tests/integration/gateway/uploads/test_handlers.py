"""Uploads follow the extractor's events: once each, whenever they come, and ask again when they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from libs.contracts import (
    ArchiveProgressed,
    ArchiveRejected,
    Finding,
    ModelValidationRequested,
    UploadExpired,
    UploadFailed,
    UploadOpened,
)
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.sweepers import ask_extractor_again, expire_uploads
from tests.integration.gateway.harness import NOON, STALE_AFTER, Uploads, extracted

SYMLINK = Finding(rule="tar-symlink", severity="error", message="is a link.", fix="Use tar -h.", file="a.json")
NEXT = timedelta(minutes=1)


async def given_part(uploads: Uploads, size: int = 10) -> dict[str, str]:
    opened = await uploads.open_archive(size)
    await uploads.send_part(opened["session_id"], 0, b"x" * size)
    return opened


async def test_a_rejected_archive_fails_the_session_and_the_next_part_is_told_why(uploads: Uploads) -> None:
    opened = await uploads.open_archive(2000)
    session = opened["session_id"]
    await uploads.send_part(session, 0, b"x" * 1000)
    rejected = ArchiveRejected(upload_id=session, stream_id=f"{session}-0", finding=SYMLINK, at=NOON)
    await uploads.deliver(rejected)
    await uploads.deliver(rejected)

    refused = await uploads.send_part(session, 1, b"x" * 1000, status=422)
    assert refused["error"]["code"] == "archive_rejected"
    assert refused["error"]["message"] == "a.json: is a link. Use tar -h."
    assert refused["error"]["finding"]["rule"] == "tar-symlink"
    assert (await uploads.model(opened["model_id"]))["status_reason"] == "a.json: is a link. Use tar -h."
    assert (await uploads.call("GET", f"uploads/{session}"))["error"]["finding"]["rule"] == "tar-symlink"
    assert len(await uploads.emitted(UploadFailed)) == 1
    assert (await uploads.complete(session, status=422))["error"]["code"] == "archive_rejected"


async def test_bytes_that_are_not_those_declared_are_called_a_checksum_mismatch(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    session = opened["session_id"]
    finding = Finding(
        rule="archive-checksum", severity="error", message="its SHA-256 is another.", fix="Send it again."
    )
    await uploads.deliver(ArchiveRejected(upload_id=session, stream_id=f"{session}-0", finding=finding, at=NOON))
    assert (await uploads.complete(session, status=422))["error"]["code"] == "checksum_mismatch"


async def test_extraction_that_is_told_twice_registers_once(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    await uploads.complete(opened["session_id"], status=202)
    event = extracted(opened["session_id"])
    await uploads.deliver(event)
    await uploads.deliver(event)
    await uploads.deliver(extracted(opened["session_id"]))  # told again by the extractor, as another event

    assert len(await uploads.emitted(ModelValidationRequested)) == 1


async def test_extraction_of_an_aborted_upload_registers_nothing(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    await uploads.call("DELETE", f"uploads/{opened['session_id']}")
    await uploads.deliver(extracted(opened["session_id"]))
    assert await uploads.emitted(ModelValidationRequested) == []


async def test_progress_only_grows(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    session = opened["session_id"]
    for done, members in ((1, 5), (0, 2)):
        await uploads.deliver(
            ArchiveProgressed(
                upload_id=session, stream_id=f"{session}-0", parts_done=done, members=members, bytes_out=7, at=NOON
            )
        )
    shown = await uploads.call("GET", f"uploads/{session}")
    assert shown["extraction"] == {"parts_done": 1, "members": 5, "bytes": 7}


async def test_a_stream_that_waits_too_long_is_told_of_again_with_all_that_is_known(uploads: Uploads) -> None:
    now = datetime.now(UTC)
    opened = await uploads.open_archive(2000)
    for number in (1, 0):
        await uploads.send_part(opened["session_id"], number, b"x" * 1000)
    await ask_extractor_again(uploads.pool, now + NEXT, STALE_AFTER)
    await ask_extractor_again(uploads.pool, now + NEXT, STALE_AFTER)
    [first, again] = await uploads.emitted(UploadOpened)
    assert [part.number for part in first.parts] == [1]
    assert [part.number for part in again.parts] == [0, 1]
    assert again.stream == first.stream


async def test_a_session_that_expires_leaves_its_model_in_error(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    later = datetime.now(UTC) + timedelta(days=2)
    await expire_uploads(uploads.pool, later, lifetime(uploads.dependencies.config))
    await expire_uploads(uploads.pool, later, lifetime(uploads.dependencies.config))

    assert len(await uploads.emitted(UploadExpired)) == 1
    model = await uploads.model(opened["model_id"])
    assert model["status"] == "error"
    assert "24 hours" in model["status_reason"]
    error = (await uploads.call("GET", f"uploads/{opened['session_id']}"))["error"]
    assert (error["code"], error["message"]) == ("upload_expired", model["status_reason"])
    late = await uploads.send_part(opened["session_id"], 0, b"x" * 10, status=409)
    assert "expired" in late["error"]["message"]


async def test_a_dead_letter_parks_its_upload_and_shows_the_reason(uploads: Uploads) -> None:
    opened = await given_part(uploads)
    [event] = await uploads.emitted(UploadOpened)
    await uploads.give_up(event, "extractor")

    shown = await uploads.call("GET", f"uploads/{opened['session_id']}")
    assert shown["status"] == "open"
    assert "ZeroDivisionError" in shown["waiting_for"]
    assert "ZeroDivisionError" in (await uploads.complete(opened["session_id"], status=202))["waiting_for"]
    assert (await uploads.model(opened["model_id"]))["status"] == "processing"
    await uploads.deliver(extracted(opened["session_id"]))
    assert (await uploads.complete(opened["session_id"]))["status"] == "completed"
