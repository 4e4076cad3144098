"""What waits too long is asked for again, or ends with its true reason; what has ended is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from libs.contracts import (
    ArchiveParked,
    UploadOpened,
)
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
from tests.integration.gateway.harness import CHUNK, NOON, STALE_AFTER, Uploads, extracted, part
from tests.integration.gateway.uploads.examples import (
    given_archive,
    given_chunks,
    progress_of,
    report_progress,
)

DAY = timedelta(days=1)


async def test_the_extractor_is_asked_with_growing_pauses_under_ids_made_from_the_question(uploads: Uploads) -> None:
    session = await given_archive(uploads)
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
    await report_progress(uploads, session, known=2, done=0)
    await ask_extractor_again(uploads.pool, datetime.now(UTC) + DAY, STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == 1

    await uploads.send_part(session, 2, part(2))
    await ask_extractor_again(uploads.pool, datetime.now(UTC) + DAY, STALE_AFTER)
    assert len(await uploads.emitted(UploadOpened)) == 2


async def test_what_extractors_report_within_a_second_is_one_statement(uploads: Uploads) -> None:
    sessions = [await given_archive(uploads, name=f"m{n}") for n in range(5)]
    progress = Progress(uploads.pool)
    for done in (1, 2):
        reports = [progress_of(session, known=2, done=done) for session in sessions]
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
    session = await given_archive(uploads)
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
    session = await given_archive(uploads)
    await uploads.deliver(extracted(session))
    done = await uploads.complete(session)
    aborted = await given_chunks(uploads, name="aborted")
    await uploads.call("DELETE", f"uploads/{aborted}")
    live = await given_chunks(uploads, name="live")

    await prune_uploads(uploads.pool, datetime.now(UTC) + 6 * DAY, 7 * DAY)
    assert await _rows(uploads, session) > 0
    await prune_uploads(uploads.pool, datetime.now(UTC) + 8 * DAY, 7 * DAY)

    assert [await _rows(uploads, each) for each in (session, aborted)] == [0, 0]
    assert await _rows(uploads, live) == 4
    assert await uploads.complete(session) == done
    left = [upload["session_id"] for upload in (await uploads.call("GET", "uploads"))["data"]]
    assert left == [live, session]  # nothing remembers what was aborted: its model is gone too


def test_a_session_lives_as_the_settings_say(uploads: Uploads) -> None:
    config = msgspec.structs.replace(uploads.dependencies.config, session_ttl_s=60, session_max_s=600)
    assert lifetime(replace(uploads.dependencies, config=config).config) == Lifetime(
        timedelta(seconds=60), timedelta(seconds=600)
    )


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
