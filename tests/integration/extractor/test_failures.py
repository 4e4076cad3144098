"""What passes is waited for; what does not parks the stream with its true reason, and costs no byte of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import _AsyncGeneratorContextManager, asynccontextmanager
from typing import Literal

import pytest

from libs.blobs import Blobs, Writer
from libs.contracts import ArchiveExtracted, ArchiveParked, ArchiveRejected, Event, UploadAborted
from libs.db import transaction
from libs.errors import Unavailable
from services.extractor import attempt
from services.extractor.progress import progress
from services.extractor.store import leases
from tests.integration.extractor.harness import NOON, Extractor, Upload, tar_of
from tests.support.stack import Stack

FILES = {"config.json": b"{}", "model.bin": random.Random(1).randbytes(12_000_000), "end.txt": b"end"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(attempt, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(attempt, "LONGEST_PAUSE_S", 0.02)


@pytest.mark.parametrize("name", ["s3", "postgres"])
async def test_restart_of_a_dependency_midway(
    extractor: Extractor, stack: Stack, name: Literal["postgres", "s3"]
) -> None:
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    half = len(upload.pieces) // 2
    async with extractor.working():
        await upload.open()
        await upload.send(range(half))
        await extractor.until_progress(lambda seen: seen.parts_done > 0)
        await stack.restart(name)
        await extractor.patiently(lambda: upload.send(range(half, len(upload.pieces))))
        extracted = await extractor.patiently(upload.extracted)
        assert await extractor.contents(extracted) == FILES
    assert len(await extractor.emitted(ArchiveExtracted)) == 1


async def test_storage_away_for_longer_than_any_single_request_waits(extractor: Extractor, stack: Stack) -> None:
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.send()
    await stack.stop("s3")
    async with extractor.working():
        await upload.open()
        await extractor.until_put_off()
        await stack.start("s3")
        assert await extractor.contents(await upload.extracted()) == FILES
    assert not await extractor.emitted(ArchiveParked)


@pytest.mark.usefixtures("impatient")
async def test_part_that_is_missing_for_a_moment(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.store(*range(len(upload.pieces)))
    await upload.lose(3)
    async with extractor.working():
        await upload.open(*range(len(upload.pieces)))
        await extractor.until_put_off()
        await upload.store(3)
        assert await extractor.contents(await upload.extracted()) == FILES


@pytest.mark.usefixtures("impatient")
async def test_part_that_is_gone_parks_the_stream_until_it_is_back(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.store(*range(len(upload.pieces)))
    await upload.lose(3)
    async with extractor.working(extractor.config_with(max_attempts=3)):
        await upload.open(*range(len(upload.pieces)))
        parked = await parked_of(extractor)
        assert parked.reason == "part 3 is not in storage"
        assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == len(upload.pieces)
        await upload.store(3)
        await upload.resume()
        assert await extractor.contents(await upload.extracted()) == FILES


@pytest.mark.usefixtures("impatient")
async def test_part_of_another_size_than_it_was_stored_with(extractor: Extractor) -> None:
    for difference in (b"", b"more"):
        upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
        upload.pieces[2] = upload.pieces[2] + difference if difference else upload.pieces[2][:-1]
        async with extractor.working(extractor.config_with(max_attempts=2)):
            await upload.open()
            await upload.send()
            parked = await parked_of(extractor, upload)
        found = 1_000_001 if difference else 999_999
        assert f"Part 2 has {found} bytes in storage instead of 1000000" in parked.reason


class BrokenBlobs(Blobs):
    """Object storage with a bug."""

    def __init__(self, blobs: Blobs, *, times: int) -> None:
        self.__dict__.update(vars(blobs))
        self.times = times

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("a bug in the client")
        return await super().read(key, start, length)


@pytest.mark.usefixtures("impatient")
async def test_an_error_without_a_name_may_pass(extractor: Extractor) -> None:
    extractor.blobs = BrokenBlobs(extractor.blobs, times=2)
    upload = extractor.upload(tar_of({"a": b"b"}))
    async with extractor.working(extractor.config_with(max_attempts=3)):
        await upload.open()
        await upload.send()
        assert await extractor.contents(await upload.extracted()) == {"a": b"b"}


@pytest.mark.usefixtures("impatient")
async def test_error_of_ours_deletes_nothing_and_goes_on_after_the_repair(
    extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    extractor.blobs = broken = BrokenBlobs(extractor.blobs, times=3)
    upload = extractor.upload(tar_of({"a": b"b"}))
    await upload.open()
    await upload.send()
    async with extractor.working(extractor.config_with(max_attempts=3)):
        parked = await parked_of(extractor)
        assert "RuntimeError: a bug in the client" in parked.reason
        assert sum(record.message == "extraction failed" for record in caplog.records) == 3
        assert broken.times == 0
        await extractor.until_idle()
        assert not await extractor.emitted(ArchiveRejected)
        await extractor.deliver(await upload.resume())  # twice
        assert await extractor.contents(await upload.extracted()) == {"a": b"b"}


@pytest.mark.usefixtures("impatient")
async def test_parked_stream_goes_on_by_itself_with_growing_pauses(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "FIRST_PARKED_S", 0.1)
    extractor.blobs = BrokenBlobs(extractor.blobs, times=4)
    upload = extractor.upload(tar_of({"a": b"b"}))
    async with extractor.working(extractor.config_with(max_attempts=2)):
        await upload.open()
        await upload.send()
        await upload.extracted()
    pauses_s = [(parked.retry_at - parked.at).total_seconds() for parked in await extractor.emitted(ArchiveParked)]
    assert pauses_s == [0.1, 0.2, 0.4]


@pytest.mark.usefixtures("impatient")
async def test_parts_that_come_while_it_is_parked_are_kept(extractor: Extractor) -> None:
    extractor.blobs = broken = BrokenBlobs(extractor.blobs, times=1000)
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    async with extractor.working(extractor.config_with(max_attempts=1)):
        await upload.open()
        await upload.send([0])
        await parked_of(extractor)
        broken.times = 0
        progress.changed()
        extractor.published.clear()
        await upload.send(range(1, len(upload.pieces)))
        assert [*extractor.published, *progress.changed()] == []  # which would say that it goes on
        await upload.resume()
        assert await extractor.contents(await upload.extracted()) == FILES


async def test_abort_ends_what_is_parked(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of({"a": b"b"}))
    await upload.open()
    await upload.send()
    await extractor.pool.execute("UPDATE extraction SET state = 'parked', not_before = now() + interval '1 hour'")
    stream = upload.stream
    await extractor.deliver(
        UploadAborted(upload_id=stream.upload_id, project_id=stream.project_id, model_id=stream.model_id, at=NOON)
    )
    await upload.resume()
    assert await extractor.pool.fetchval("SELECT state FROM extraction") == "stopped"
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_part") == 0


async def test_stream_that_kills_its_process_each_time_is_parked(extractor: Extractor) -> None:
    """Without another try: that would be the end of a process again."""
    upload = extractor.upload(tar_of({"a": b"b"}))
    await upload.open()
    await upload.send()
    for _ in range(3):
        async with transaction(extractor.pool) as tx:
            [claim] = await leases.claim(tx, "a process that dies", 1, 0.0, of_one_project=1)
    assert claim.attempts == 3
    async with extractor.working(extractor.config_with(max_attempts=3)):
        assert "did not survive unpacking it (3 times" in (await parked_of(extractor)).reason
        await upload.resume()
        await upload.extracted()


@pytest.mark.usefixtures("impatient")
async def test_object_that_storage_refuses_for_ever_stops_no_other_stream(extractor: Extractor) -> None:
    refused, good = extractor.upload(tar_of(FILES)), [extractor.upload(tar_of({"a": b"b"})) for _ in range(5)]
    extractor.blobs = RefusingBlobs(extractor.blobs, refused.stream.upload_id)
    async with extractor.working(extractor.config_with(max_open=2, max_attempts=2)):
        for upload in (refused, *good):
            await upload.open()
            await upload.send()
        for upload in good:
            await upload.extracted()
        assert "refused" in (await parked_of(extractor, refused)).reason
    assert len(extractor.blobs.asked) == 2  # attempts; each asked once


class RefusingBlobs(Blobs):
    """Object storage that refuses to write a member of one upload."""

    def __init__(self, blobs: Blobs, upload_id: str) -> None:
        self.__dict__.update(vars(blobs))
        self._upload_id = upload_id
        self.asked: list[str] = []

    def writer(self, key: str, size_bytes: int | None) -> _AsyncGeneratorContextManager[Writer]:
        if self._upload_id in key:
            self.asked.append(key)
            raise Unavailable("Object storage refused it.")
        return super().writer(key, size_bytes)


async def parked_of(extractor: Extractor, upload: Upload | None = None) -> ArchiveParked:
    """The first parking of the stream, or of any."""

    def parks(event: Event) -> bool:
        return isinstance(event, ArchiveParked) and (upload is None or event.stream_id == upload.stream.id)

    events = await extractor.until(lambda events: any(map(parks, events)))
    parked = next(filter(parks, events))
    assert isinstance(parked, ArchiveParked)
    return parked


@asynccontextmanager
async def logged(message: str) -> AsyncIterator[None]:
    """At the end of the block, wait until something like this is logged."""
    seen = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if message in record.getMessage():
                seen.set()

    watch = Watch()
    attempt.log.addHandler(watch)
    try:
        yield
        async with asyncio.timeout(60):
            await seen.wait()
    finally:
        attempt.log.removeHandler(watch)


async def test_end_is_recorded_although_postgres_restarts_just_then(extractor: Extractor, stack: Stack) -> None:
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.send()
    async with extractor.working(extractor.config_with(lease_s=30)):
        await upload.open()
        await extractor.until_progress(lambda seen: seen.parts_done > 0)
        async with logged("waiting for Postgres"):
            await stack.kill("postgres")
        await stack.start("postgres")
        assert await extractor.contents(await extractor.patiently(upload.extracted)) == FILES
