"""What goes wrong with an upload costs as little as it can: one file, some time, and never what its client sent."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from libs.contracts import (
    ArchiveExtracted,
    ArchiveParked,
    ArchiveRejected,
    Finding,
    ObjectDropped,
    StoredFile,
    UploadFailed,
    UploadOpened,
)
from libs.contracts.keys import member_key
from libs.db import connection
from services.gateway.uploads.sweepers import (
    ask_extractor_again,
)
from tests.integration.gateway.harness import FILES, NOON, PROJECT, STALE_AFTER, Uploads, extracted
from tests.integration.gateway.uploads.examples import (
    given_archive,
    given_chunks,
    report_progress,
    send_chunks,
)

WRONG = Finding(rule="file-checksum", severity="error", message="its SHA-256 is another.", fix="Send the file again.")


async def test_one_wrong_file_of_a_directory_is_sent_again_and_costs_only_itself(uploads: Uploads) -> None:
    session = await given_chunks(uploads)
    await uploads.complete(session, status=202)
    [first] = await uploads.emitted(UploadOpened)
    rejected = ArchiveRejected(upload_id=session, stream_id=first.stream.id, finding=WRONG, at=NOON)
    await uploads.deliver(rejected)
    await uploads.deliver(msgspec.structs.replace(rejected, id="again"))

    refused = (await uploads.complete(session, status=409))["error"]
    assert (refused["code"], refused["missing"]) == ("parts_missing", ["model.safetensors"])
    assert WRONG.sentence() in refused["message"]
    shown = await uploads.call("GET", f"uploads/{session}")
    assert shown["status"] == "open"
    assert [(file["status"], file["reason"]) for file in shown["files"]] == [
        ("received", None),
        ("missing", WRONG.sentence()),
    ]
    assert (await uploads.model(shown["model_id"]))["status"] == "uploading"
    [dropped] = await uploads.emitted(ObjectDropped)
    assert len(dropped.keys) == 2
    assert await uploads.emitted(UploadFailed) == []

    await send_chunks(uploads, session)
    second = (await uploads.emitted(UploadOpened))[-1]
    assert second.stream.id != first.stream.id  # the extractor has answered for the first one
    await uploads.complete(session, status=202)
    await uploads.deliver(_joined(session, second.stream.id))
    assert (await uploads.complete(session))["file_count"] == 2


async def test_a_shared_file_that_is_lost_meanwhile_is_sent_again_and_costs_only_itself(uploads: Uploads) -> None:
    await uploads.upload_directory(FILES, "first")
    config, weights = FILES["config.json"], b"other" * 100
    listed = [
        {"relative_path": "config.json", "size": len(config), "sha256": hashlib.sha256(config).hexdigest()},
        {"relative_path": "model.safetensors", "size": len(weights)},
    ]
    opened = await uploads.call("POST", "uploads/directory", json={"model_name": "second", "files": listed})
    session, slots = opened["session_id"], opened["files"]
    assert [slot["present"] for slot in slots] == [True, False]
    for number, chunk in enumerate((weights[:300], weights[300:])):
        await uploads.send_file(session, f"model.safetensors?part_count=2&part_number={number}", chunk)
    await uploads.complete(session, status=202)
    async with connection(uploads.pool) as tx:  # as when storage has lost it
        await tx.execute("UPDATE blob SET missing_since = now() WHERE size_bytes = $1", len(config))
    await uploads.deliver(_joined(session, (await uploads.emitted(UploadOpened))[-1].stream.id, weights))

    missing = (await uploads.complete(session, status=409))["error"]
    assert (missing["code"], missing["missing"]) == ("parts_missing", ["config.json"])
    assert "deleted, or lost by storage" in missing["reasons"]["config.json"]
    shown = await uploads.call("GET", f"uploads/{session}")
    assert shown["status"] == "open"
    assert [(file["status"], file["reason"]) for file in shown["files"]] == [
        ("missing", missing["reasons"]["config.json"]),
        ("received", None),
    ]
    assert (await uploads.model(opened["model_id"]))["status"] == "uploading"
    assert await uploads.emitted(UploadFailed) == []

    await uploads.send_file(session, "config.json", config)
    assert (await uploads.complete(session))["status"] == "completed"


async def test_a_client_that_waits_in_complete_hears_at_once_that_a_file_is_wrong(uploads: Uploads) -> None:
    session = await given_chunks(uploads)
    await uploads.complete(session, status=202)
    [opened] = await uploads.emitted(UploadOpened)
    await uploads.deliver(ArchiveRejected(upload_id=session, stream_id=opened.stream.id, finding=WRONG, at=NOON))
    await uploads.complete(session, status=409, wait_s=30)


async def test_a_parked_upload_says_what_it_waits_for_until_it_goes_on(uploads: Uploads) -> None:
    session = await given_archive(uploads)
    await uploads.complete(session, status=202)
    parked = ArchiveParked(
        upload_id=session, stream_id=f"{session}-0", reason="storage is full", retry_at=datetime.now(UTC), at=NOON
    )
    await uploads.deliver(parked)

    shown = await uploads.call("GET", f"uploads/{session}")
    assert (shown["status"], shown["waiting_for"]) == ("processing", "storage is full")
    assert (await uploads.complete(session, status=202))["waiting_for"] == "storage is full"
    [listed] = (await uploads.call("GET", "uploads"))["data"]
    assert listed["waiting_for"] == "storage is full"
    await ask_extractor_again(uploads.pool, datetime.now(UTC) + timedelta(minutes=29), STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == 1  # the extractor tries again by itself

    await report_progress(uploads, session, known=2, done=1)
    assert (await uploads.call("GET", f"uploads/{session}"))["waiting_for"] is None
    await uploads.deliver(extracted(session))
    assert (await uploads.complete(session))["status"] == "completed"


def _joined(session: str, stream_id: str, weights: bytes = FILES["model.safetensors"]) -> ArchiveExtracted:
    file = StoredFile(
        path="model.safetensors",
        size_bytes=len(weights),
        sha256=hashlib.sha256(weights).hexdigest(),
        key=member_key(PROJECT, session, 1, 1, 0),
    )
    return ArchiveExtracted(upload_id=session, stream_id=stream_id, files=[file], at=NOON)
