"""The extractor as a process: killed, paused, told to end, and never large."""

from __future__ import annotations

import asyncio
import gzip
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from libs.bus import Bus
from libs.contracts import ArchiveExtracted, Part, StreamProgress
from libs.contracts.keys import part_key
from tests.integration.extractor.harness import Extractor, Upload, tar_of
from tests.support.fixtures import StartService
from tests.support.processes import peak_bytes
from tests.support.tarblocks import END, header

MIB = 1024 * 1024
FILES = {"config.json": b"{}", "model.bin": random.Random(1).randbytes(30_000_000)}

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def start(start_service: StartService) -> Start:
    """Start the extractor; settings may be extractor."""

    async def start(**settings: float) -> asyncio.subprocess.Process:
        return await start_service("extractor", **{"lease_s": 2, "progress_every_s": 0.05, **settings})

    return start


async def given_half(extractor: Extractor) -> Upload:
    """A stream of which half is told of."""
    upload = extractor.upload(tar_of(FILES), part_bytes=1_000_000)
    await upload.open()
    await upload.send(range(15))
    return upload


async def begun(extractor: Extractor) -> None:
    """Return when somebody has read some of it."""
    await extractor.until_files(1)


async def test_killed_process_is_replaced(extractor: Extractor, start: Start) -> None:
    upload = await given_half(extractor)
    first = await start()
    await begun(extractor)
    first.kill()
    await first.wait()
    await start()
    await upload.send(range(15, len(upload.pieces)))
    extracted = await upload.extracted()
    assert await extractor.contents(extracted) == FILES
    assert [fence_of(file.key) for file in extracted.files] == [1, 2]  # what was stored is not written again


def fence_of(key: str) -> int:
    """Which claim wrote the object: the last but one number of its key."""
    return int(key.rsplit("-", 2)[1])


async def test_paused_process_changes_nothing_when_it_wakes(extractor: Extractor, start: Start) -> None:
    upload = await given_half(extractor)
    first = await start()
    await begun(extractor)
    first.send_signal(signal.SIGSTOP)
    second = await start()
    await upload.send(range(15, len(upload.pieces)))
    extracted = await upload.extracted()
    first.send_signal(signal.SIGCONT)
    second.terminate()
    assert await second.wait() == 0

    another = extractor.upload(tar_of({"a": b"b"}))
    await another.open()
    await another.send()
    await another.extracted()  # by the first, which is well again
    assert first.returncode is None
    assert await extractor.contents(extracted) == FILES
    assert len(await extractor.emitted(ArchiveExtracted)) == 2


async def test_progress_goes_by_plain_nats_and_leaves_no_rows(extractor: Extractor, start: Start, bus: Bus) -> None:
    heard: list[StreamProgress] = []
    whole = asyncio.Event()
    upload = await given_half(extractor)

    async def receive(body: bytes) -> None:
        heard.extend(msgspec.json.decode(body, type=list[StreamProgress]))
        if heard[-1].parts_done == 15:
            whole.set()

    async with bus.listen("progress.streams", receive), asyncio.timeout(60):
        await start()
        await whole.wait()
    assert {seen.stream_id for seen in heard} == {upload.stream.id}
    assert heard[-1].parts_known == 15
    assert heard[-1].members == 1
    assert heard[-1].bytes_out > 10 * MIB
    assert await extractor.pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_stopped_process_hands_over_at_once(extractor: Extractor, start: Start) -> None:
    """Whatever the lease: another process goes on within seconds."""
    upload = await given_half(extractor)
    first = await start(lease_s=3600)
    await begun(extractor)
    await start(lease_s=3600)
    first.terminate()
    async with asyncio.timeout(10):
        assert await first.wait() == 0
    await upload.send(range(15, len(upload.pieces)))
    assert await extractor.contents(await upload.extracted()) == FILES


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_archive(extractor: Extractor, start: Start) -> None:
    """1 GiB in one member, after a small one that tells what the process takes anyway."""
    process = await start()
    small = extractor.upload(gzip.compress(tar_of({"a": b"b"})), format="tar.gz")
    await small.open()
    await small.send()
    await small.extracted()
    before_bytes = peak_bytes(process.pid)

    upload = await given_large(extractor, size_bytes=1024 * MIB)
    await upload.open(*range(len(upload.parts)))
    [file] = (await upload.extracted()).files
    assert file.size_bytes == 1024 * MIB
    assert peak_bytes(process.pid) - before_bytes < 80 * MIB  # of which 48 are three parts: two sent, one filled


async def given_large(extractor: Extractor, size_bytes: int) -> Upload:
    """A gzip of many members in parts of 64 MiB, all stored; neither is ever in memory."""
    block = gzip.compress(random.Random(1).randbytes(MIB), 1)
    start, end = gzip.compress(header("model.bin", b"%011o\0" % size_bytes)), gzip.compress(END)
    count = size_bytes // MIB
    per_part = 64
    upload = extractor.upload(b"", format="tar.gz")
    stream = upload.stream
    total = -(-count // per_part)
    for number in range(total):
        blocks = min(per_part, count - number * per_part)
        first, last = start if number == 0 else b"", end if number == total - 1 else b""
        size = len(first) + blocks * len(block) + len(last)
        key = part_key(stream.project_id, stream.upload_id, stream.number, number, "a")
        await extractor.blobs.put(key, repeated(first, block, blocks, last), size)
        upload.parts.append(Part(number, "a", size))
    upload.resize()
    return upload


async def repeated(first: bytes, block: bytes, count: int, last: bytes) -> AsyncIterator[bytes]:
    yield first
    for _ in range(count):
        yield block
    yield last
