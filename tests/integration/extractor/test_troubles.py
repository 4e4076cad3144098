"""What passes is waited for; what does not is told with its true reason."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.blobs import Blobs
from libs.contracts import ArchiveExtracted, ArchiveProgressed
from services.extractor import attempt
from tests.integration.extractor.given import Given, tar_of
from tests.support.stack import Stack

FILES = {"config.json": b"{}", "model.bin": random.Random(1).randbytes(12_000_000), "end.txt": b"end"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(attempt, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(attempt, "LONGEST_DELAY_S", 0.02)


@pytest.mark.parametrize("name", ["s3", "postgres"])
async def test_restart_of_a_dependency_midway(given: Given, stack: Stack, name) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    half = len(upload.pieces) // 2
    async with given.working():
        await upload.open()
        await upload.send(range(half))
        await given.until(lambda events: any(isinstance(event, ArchiveProgressed) for event in events))
        await stack.restart(name)
        await given.patiently(lambda: upload.send(range(half, len(upload.pieces))))
        extracted = await given.patiently(upload.extracted)
        assert await given.contents(extracted) == FILES
    assert len(await given.emitted(ArchiveExtracted)) == 1


async def test_storage_away_for_longer_than_any_single_request_waits(given: Given, stack: Stack) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.send()
    await stack.stop("s3")
    async with given.working():
        await upload.open()
        await given.until_troubled()
        await stack.start("s3")
        assert await given.contents(await upload.extracted()) == FILES
    assert await given.pool.fetchval("SELECT failures FROM extraction") == 0


@pytest.mark.usefixtures("impatient")
async def test_part_that_is_missing_for_a_moment(given: Given) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.store(*range(len(upload.pieces)))
    await upload.lose(3)
    async with given.working():
        await upload.open(*range(len(upload.pieces)))
        await given.until_troubled()
        await upload.store(3)
        assert await given.contents(await upload.extracted()) == FILES


@pytest.mark.usefixtures("impatient")
async def test_part_that_is_gone(given: Given) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.store(*range(len(upload.pieces)))
    await upload.lose(3)
    async with given.working(given.config_with(max_attempts=3)):
        await upload.open(*range(len(upload.pieces)))
        finding = (await upload.rejected()).finding
    assert finding.rule == "part-missing"
    assert "part 3 is no longer in storage" in finding.message


@pytest.mark.usefixtures("impatient")
async def test_part_of_another_size_than_it_was_stored_with(given: Given) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    upload.pieces[2] = upload.pieces[2][:-1]
    async with given.working(given.config_with(max_attempts=2)):
        await upload.open()
        await upload.send()
        finding = (await upload.rejected()).finding
    assert finding.rule == "extraction-failed"
    assert "Part 2 has 999999 bytes in storage instead of 1000000" in finding.message


class BrokenBlobs:
    """Object storage with a bug."""

    def __init__(self, blobs: Blobs, *, times: int) -> None:
        self._blobs = blobs
        self.times = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._blobs, name)

    async def get(self, key: str) -> AsyncGenerator[bytes, None]:
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("a bug in the client")
        async for chunk in self._blobs.get(key):
            yield chunk


@pytest.mark.usefixtures("impatient")
async def test_error_that_nobody_foresaw_may_pass(given: Given) -> None:
    given.blobs = BrokenBlobs(given.blobs, times=2)
    upload = given.upload(tar_of({"a": b"b"}))
    async with given.working(given.config_with(max_attempts=3)):
        await upload.open()
        await upload.send()
        assert await given.contents(await upload.extracted()) == {"a": b"b"}


@pytest.mark.usefixtures("impatient")
async def test_error_that_nobody_foresaw_is_named_in_the_end(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    given.blobs = BrokenBlobs(given.blobs, times=100)
    upload = given.upload(tar_of({"a": b"b"}))
    async with given.working(given.config_with(max_attempts=3)):
        await upload.open()
        await upload.send()
        finding = (await upload.rejected()).finding
    assert finding.rule == "extraction-failed"
    assert "RuntimeError: a bug in the client" in finding.message
    assert sum(record.message == "extraction failed" for record in caplog.records) == 3


async def test_stream_that_kills_its_process_each_time_is_given_up(given: Given) -> None:
    upload = given.upload(tar_of({"a": b"b"}))
    await upload.open()
    await upload.send()
    await given.pool.execute("UPDATE extraction SET deaths = 3")
    async with given.working(given.config_with(max_deaths=3)):
        finding = (await upload.rejected()).finding
    assert finding.rule == "extraction-failed"
    assert "did not survive" in finding.message


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


async def test_end_is_recorded_although_postgres_restarts_just_then(given: Given, stack: Stack) -> None:
    upload = given.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.send()
    async with given.working(given.config_with(lease_s=30)):
        await upload.open()
        await given.until(lambda events: any(isinstance(event, ArchiveProgressed) for event in events))
        async with logged("cannot record the result yet"):
            await stack.kill("postgres")
        await stack.start("postgres")
        assert await given.contents(await given.patiently(upload.extracted)) == FILES
