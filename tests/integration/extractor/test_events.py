"""Events may come twice, late, early, or not at all."""

from __future__ import annotations

import random

import pytest

from libs.contracts import (
    ArchiveExtracted,
    ArchiveRejected,
    Event,
    UploadAborted,
    UploadCompleted,
    UploadExpired,
    UploadFailed,
)
from libs.db import transaction
from services.extractor.store import retention
from tests.integration.extractor.harness import NOON, PROJECT, Extractor, Upload, tar_of

FILES = {"config.json": b"{}", "model.bin": random.Random(1).randbytes(400_000)}


def ids(upload: Upload) -> dict[str, str]:
    return {"upload_id": upload.stream.upload_id, "project_id": PROJECT, "model_id": upload.stream.model_id}


async def test_events_twice_extract_once(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    async with extractor.working():
        opened = await upload.open()
        assert not await extractor.deliver(opened)
        for number in range(len(upload.pieces)):
            await upload.store(number)
            await extractor.deliver(await upload.report_part(number))
            await upload.report_part(number)  # the same part in another event
        await upload.extracted()
    assert len(await extractor.emitted(ArchiveExtracted)) == 1


async def test_lost_part_events_are_repaired_by_the_repeated_stream(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    everything = range(len(upload.pieces))
    await upload.store(*everything)
    async with extractor.working():
        await upload.open(0)
        await upload.open(*everything)
        await upload.extracted()


async def test_what_ended_long_ago_is_forgotten_and_nothing_else(extractor: Extractor) -> None:
    stopped, waiting = extractor.upload(tar_of(FILES)), extractor.upload(tar_of(FILES))
    for upload in (stopped, waiting):
        await upload.open(0)
    await extractor.deliver(UploadAborted(**ids(stopped), at=NOON))
    for after_s in (60.0, -60.0):  # nothing has ended a minute ago; everything, before a minute from now
        kept = {stopped.stream.id, waiting.stream.id} if after_s > 0 else {waiting.stream.id}
        async with transaction(extractor.pool) as tx:
            await retention.EXTRACTIONS.forget_some(tx, after_s, 500)
            await retention.ENDED_UPLOADS.forget_some(tx, after_s, 500)
        assert {row["stream_id"] for row in await extractor.pool.fetch("SELECT stream_id FROM extraction")} == kept
    assert await extractor.pool.fetchval("SELECT count(*) FROM ended_upload") == 0
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == 1


@pytest.mark.parametrize("again", ["opened", "completed"])
async def test_a_result_is_repeated_when_asked_for(extractor: Extractor, again: str) -> None:
    upload = extractor.upload(tar_of(FILES))
    async with extractor.working():
        await upload.open()
        await upload.send()
        first = await upload.extracted()
    if again == "opened":
        await upload.open(*range(len(upload.pieces)))
    else:
        await extractor.deliver(UploadCompleted(stream_ids=[upload.stream.id, "unknown"], at=NOON, **ids(upload)))
    [_, second] = await extractor.emitted(ArchiveExtracted)
    assert second.id != first.id
    assert second.files == first.files


async def test_a_refusal_is_repeated_too(extractor: Extractor) -> None:
    upload = extractor.upload(b"no tar at all")
    async with extractor.working():
        await upload.open()
        await upload.send()
        await upload.rejected()
    await upload.open(0)
    [first, second] = await extractor.emitted(ArchiveRejected)
    assert second.finding == first.finding


@pytest.mark.parametrize("kind", [UploadAborted, UploadExpired, UploadFailed])
async def test_ended_upload_stops_at_once_and_leaves_no_half_files(extractor: Extractor, kind: type[Event]) -> None:
    """Where it was waiting for its next part, and however long its lease still is."""
    upload = extractor.upload(tar_of({"model.bin": bytes(20_000_000)}), part_bytes=5_000_000)
    config = extractor.config_with(lease_s=600)
    async with extractor.working(config):
        await upload.open()
        await upload.send([0, 1, 2])
        await extractor.until_progress(lambda seen: seen.bytes_out > 14_000_000)
        reason = {"reason": "because"} if kind is UploadFailed else {}
        await extractor.deliver(kind(at=NOON, **ids(upload), **reason))
        await extractor.until_idle()
        await upload.send([3, 4])
    assert not await extractor.emitted(ArchiveExtracted)
    assert not await extractor.emitted(ArchiveRejected)
    assert await extractor.objects(upload) == []
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == 0
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_file") == 0


async def test_events_of_an_ended_upload_begin_nothing(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    other = extractor.upload(tar_of(FILES))
    async with extractor.working():
        await extractor.deliver(UploadAborted(at=NOON, **ids(upload)))
        await upload.send()
        await upload.open(*range(len(upload.pieces)))
        await other.open()
        await other.send()
        await other.extracted()
    assert {event.stream_id for event in await extractor.emitted(ArchiveExtracted)} == {other.stream.id}
    assert await extractor.objects(upload) == []


async def test_failure_that_follows_a_refusal_changes_nothing(extractor: Extractor) -> None:
    upload = extractor.upload(b"no tar at all")
    async with extractor.working():
        await upload.open()
        await upload.send()
        await upload.rejected()
        await extractor.deliver(UploadFailed(at=NOON, reason="no tar", **ids(upload)))
    assert await extractor.pool.fetchval("SELECT state FROM extraction") == "rejected"


async def test_events_carry_the_request_that_opened_the_stream(extractor: Extractor) -> None:
    from libs import telemetry

    upload = extractor.upload(tar_of(FILES))
    async with extractor.working():
        with telemetry.bind(request_id="req_abc"):
            await upload.open()
        await upload.send()
        await upload.extracted()
    assert (
        await extractor.pool.fetchval("SELECT request_id FROM outbox WHERE type LIKE 'archive.extracted%'") == "req_abc"
    )
