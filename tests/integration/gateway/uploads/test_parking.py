"""What goes wrong with an upload costs as little as it can: one file, some time, and never what its client sent."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.contracts import (
    ArchiveExtracted,
    ArchiveParked,
    ArchiveRejected,
    Finding,
    ObjectDropped,
    StoredFile,
    StreamProgress,
    UploadFailed,
    UploadOpened,
)
from libs.contracts.keys import member_key
from libs.db import connection
from services.gateway.deadlines import PAUSES
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.progress import Progress
from services.gateway.uploads.store.expiry import Lifetime
from services.gateway.uploads.sweepers import (
    ask_extractor_again,
    expire_uploads,
    give_up_uploads,
    prune_uploads,
)
from tests.integration.gateway.uploading import CHUNK, FILES, NOON, PROJECT, STALE_AFTER, Uploads, extracted, part

WRONG = Finding(rule="file-checksum", severity="error", message="its SHA-256 is another.", fix="Send the file again.")
DAY = timedelta(days=1)


async def test_one_wrong_file_of_a_directory_is_sent_again_and_costs_only_itself(uploads: Uploads) -> None:
    session = await _given_chunks(uploads)
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

    await _send_chunks(uploads, session)
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
    session = await _given_chunks(uploads)
    await uploads.complete(session, status=202)
    [opened] = await uploads.emitted(UploadOpened)
    await uploads.deliver(ArchiveRejected(upload_id=session, stream_id=opened.stream.id, finding=WRONG, at=NOON))
    await uploads.complete(session, status=409, wait_s=30)


async def test_a_parked_upload_says_what_it_waits_for_until_it_goes_on(uploads: Uploads) -> None:
    session = await _given_archive(uploads)
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

    await _report(uploads, session, known=2, done=1)
    assert (await uploads.call("GET", f"uploads/{session}"))["waiting_for"] is None
    await uploads.deliver(extracted(session))
    assert (await uploads.complete(session))["status"] == "completed"


async def test_the_extractor_is_asked_with_growing_pauses_under_ids_made_from_the_question(uploads: Uploads) -> None:
    session = await _given_archive(uploads)
    now = datetime.now(UTC) + timedelta(minutes=1)
    for pause in PAUSES:
        await ask_extractor_again(uploads.pool, now, STALE_AFTER)
        await ask_extractor_again(uploads.pool, now + pause - timedelta(seconds=1), STALE_AFTER)
        now += pause + timedelta(seconds=1)

    opened = await uploads.emitted(UploadOpened)
    assert len(opened) == 1 + len(PAUSES)
    assert len({event.id for event in opened}) == len(opened)
    assert all(event.stream == opened[0].stream for event in opened)
    assert [len(event.parts) for event in opened] == [1, *(2 for _ in PAUSES)]
    assert (await uploads.call("GET", f"uploads/{session}"))["status"] == "open"


async def test_streams_that_wait_for_their_client_are_not_asked_about(uploads: Uploads) -> None:
    """The extractor knows every part that there is; how many of them it has unpacked does not matter."""
    session = (await uploads.open_archive(3 * CHUNK))["session_id"]
    for number in range(2):
        await uploads.send_part(session, number, part(number))
    await _report(uploads, session, known=2, done=0)
    await ask_extractor_again(uploads.pool, datetime.now(UTC) + DAY, STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == 1

    await uploads.send_part(session, 2, part(2))
    await ask_extractor_again(uploads.pool, datetime.now(UTC) + DAY, STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == 2


async def test_what_extractors_report_within_a_second_is_one_statement(uploads: Uploads) -> None:
    sessions = [await _given_archive(uploads, name=f"m{n}") for n in range(5)]
    progress = Progress(uploads.pool)
    for done in (1, 2):
        reports = [_progress(session, known=2, done=done) for session in sessions]
        await progress.receive(msgspec.json.encode(reports))
    statements: list[str] = []
    async with connection(uploads.pool) as tx:
        tx.add_query_logger(lambda query: statements.append(query.query))
    await progress.write()
    await progress.write()

    assert len([each for each in statements if "upload_stream" in each]) == 1
    for session in sessions:
        assert (await uploads.call("GET", f"uploads/{session}"))["extraction"]["parts_done"] == 2


async def test_an_upload_that_cannot_be_processed_for_days_ends_with_its_true_reason(uploads: Uploads) -> None:
    session = await _given_archive(uploads)
    await uploads.complete(session, status=202)
    parked = ArchiveParked(
        upload_id=session, stream_id=f"{session}-0", reason="storage is full", retry_at=NOON, at=NOON
    )
    await uploads.deliver(parked)
    week = timedelta(days=7)
    await give_up_uploads(uploads.pool, datetime.now(UTC) + week - DAY, week)
    assert (await uploads.call("GET", f"uploads/{session}"))["status"] == "processing"
    await give_up_uploads(uploads.pool, datetime.now(UTC) + week, week)

    refused = (await uploads.complete(session, status=422))["error"]
    assert refused["code"] == "processing_failed"
    assert "storage is full" in refused["message"]
    assert "7 days" in refused["message"]


async def test_an_upload_that_makes_progress_does_not_expire(uploads: Uploads) -> None:
    session = (await uploads.open_archive(3 * CHUNK))["session_id"]
    await _age(uploads, session, timedelta(hours=23))
    await uploads.send_part(session, 0, part(0))
    await expire_uploads(uploads.pool, datetime.now(UTC) + timedelta(hours=20), lifetime(uploads.dependencies.config))
    await uploads.send_part(session, 1, part(1))

    await expire_uploads(uploads.pool, datetime.now(UTC) + timedelta(hours=25), lifetime(uploads.dependencies.config))
    ended = await uploads.send_part(session, 2, part(2), status=409)
    assert "expired" in ended["error"]["message"]
    error = (await uploads.call("GET", f"uploads/{session}"))["error"]
    assert "Nothing arrived for 24 hours" in error["message"]


async def test_no_progress_carries_an_upload_beyond_its_last_limit(uploads: Uploads) -> None:
    session = (await uploads.open_archive(3 * CHUNK))["session_id"]
    await _age(uploads, session, timedelta(days=29, hours=20))
    await uploads.send_part(session, 0, part(0))
    ends = datetime.fromisoformat((await uploads.call("GET", f"uploads/{session}"))["expires_at"])
    assert ends - datetime.now(UTC) <= timedelta(hours=4)


async def test_parts_that_come_close_together_do_not_write_the_sessions_row(uploads: Uploads) -> None:
    session = (await uploads.open_archive(3 * CHUNK))["session_id"]
    async with connection(uploads.pool) as tx:
        before = await tx.fetchval("SELECT xmin::text FROM upload WHERE id = $1", session)
        for number in range(3):
            await uploads.send_part(session, number, part(number))
        assert await tx.fetchval("SELECT xmin::text FROM upload WHERE id = $1", session) == before


async def test_parts_and_files_of_ended_uploads_go_after_days_and_the_answer_stays(uploads: Uploads) -> None:
    session = await _given_archive(uploads)
    await uploads.deliver(extracted(session))
    done = await uploads.complete(session)
    aborted = await _given_chunks(uploads, name="aborted")
    await uploads.call("DELETE", f"uploads/{aborted}")
    live = await _given_chunks(uploads, name="live")

    await prune_uploads(uploads.pool, datetime.now(UTC) + 6 * DAY, 7 * DAY)
    assert await _rows(uploads, session) > 0
    await prune_uploads(uploads.pool, datetime.now(UTC) + 8 * DAY, 7 * DAY)

    assert [await _rows(uploads, each) for each in (session, aborted)] == [0, 0]
    assert await _rows(uploads, live) == 4
    assert await uploads.complete(session) == done
    assert len((await uploads.call("GET", "uploads"))["data"]) == 3


def test_a_session_lives_as_the_settings_say(uploads: Uploads) -> None:
    config = msgspec.structs.replace(uploads.dependencies.config, session_ttl_s=60, session_max_s=600)
    assert lifetime(replace(uploads.dependencies, config=config).config) == Lifetime(
        timedelta(seconds=60), timedelta(seconds=600)
    )


async def _given_archive(uploads: Uploads, **more: Any) -> str:
    session: str = (await uploads.open_archive(2 * CHUNK, **more))["session_id"]
    for number in range(2):
        await uploads.send_part(session, number, part(number))
    return session


async def _given_chunks(uploads: Uploads, **more: Any) -> str:
    session: str = (await uploads.open_directory(FILES, **more))["session_id"]
    await uploads.send_file(session, "config.json", FILES["config.json"])
    await _send_chunks(uploads, session)
    return session


async def _send_chunks(uploads: Uploads, session: str) -> None:
    weights = FILES["model.safetensors"]
    for number, chunk in enumerate((weights[:300], weights[300:])):
        await uploads.send_file(session, f"model.safetensors?part_count=2&part_number={number}", chunk)


def _joined(session: str, stream_id: str, weights: bytes = FILES["model.safetensors"]) -> ArchiveExtracted:
    file = StoredFile(
        path="model.safetensors",
        size_bytes=len(weights),
        sha256=hashlib.sha256(weights).hexdigest(),
        key=member_key(PROJECT, session, 1, 1, 0),
    )
    return ArchiveExtracted(upload_id=session, stream_id=stream_id, files=[file], at=NOON)


def _progress(session: str, *, known: int, done: int) -> StreamProgress:
    return StreamProgress(
        upload_id=session, stream_id=f"{session}-0", parts_known=known, parts_done=done, members=1, bytes_out=1
    )


async def _report(uploads: Uploads, session: str, *, known: int, done: int) -> None:
    progress = Progress(uploads.pool)
    await progress.receive(msgspec.json.encode([_progress(session, known=known, done=done)]))
    await progress.write()


async def _age(uploads: Uploads, session: str, age: timedelta) -> None:
    """Make a session older than it is."""
    async with connection(uploads.pool) as tx:
        await tx.execute(
            "UPDATE upload SET created_at = created_at - $2::interval, expires_at = expires_at - $2::interval "
            "WHERE id = $1",
            session,
            age,
        )


async def _rows(uploads: Uploads, session: str) -> int:
    """How many parts and files of a session there are."""
    async with connection(uploads.pool) as tx:
        return int(
            await tx.fetchval(
                """
                SELECT (SELECT count(*) FROM upload_file WHERE upload_id = $1)
                     + (SELECT count(*) FROM upload_part p JOIN upload_stream s ON s.id = p.stream_id
                         WHERE s.upload_id = $1)
                """,
                session,
            )
        )
