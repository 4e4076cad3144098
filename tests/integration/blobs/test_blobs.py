"""Object storage does what it says, on a real S3 server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from libs.blobs import Blobs
from libs.blobs.multipart import PART_BYTES
from libs.digest import Digest
from libs.errors import Invalid, ObjectNotFound
from tests.integration.blobs.given import MIB, content, in_chunks


async def everything(blobs: Blobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


@pytest.mark.parametrize("size_bytes", [0, 1, MIB, MIB + 1, 5 * MIB + 3])
async def test_what_is_put_is_got(blobs: Blobs, size_bytes: int) -> None:
    """By stream and in one piece, from nothing to more than one chunk."""
    data = content(size_bytes)
    await blobs.put("streamed", in_chunks(data), size_bytes)
    await blobs.put_bytes("whole", memoryview(bytearray(data)))
    assert await everything(blobs, "streamed") == await everything(blobs, "whole") == data


async def test_a_body_of_unknown_size_is_stored(blobs: Blobs) -> None:
    """In parts, whose size does not depend on the body's."""
    data = content(20 * MIB + 1)
    await blobs.put("key", in_chunks(data), None)
    assert await everything(blobs, "key") == data


async def test_head_tells_size_and_age(blobs: Blobs) -> None:
    """None for what is not there."""
    await blobs.put_bytes("key", b"hello")
    info = await blobs.head("key")
    assert info is not None
    assert (info.key, info.size_bytes) == ("key", 5)
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert await blobs.head("nothing") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 4, b"0123"), (3, 2, b"34"), (8, 100, b"89"), (10, 1, b""), (99, 5, b""), (2, 0, b"")],
)
async def test_a_range_is_a_slice(blobs: Blobs, start: int, length: int, expected: bytes) -> None:
    """Beyond the end there is nothing; so it is with any server's answer to a range, 200 or 206."""
    await blobs.put_bytes("digits", b"0123456789")
    assert await blobs.read("digits", start, length) == expected
    assert b"".join([chunk async for chunk in blobs.get("digits", start)]) == b"0123456789"[start:]


async def test_reading_nothing_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(ObjectNotFound):
        await blobs.read("nothing", 0, 1)
    with pytest.raises(ObjectNotFound):
        await everything(blobs, "nothing")


async def test_a_reader_may_stop_early(blobs: Blobs) -> None:
    """The rest is not received: another read works at once."""
    await blobs.put_bytes("key", content(20 * MIB))
    async with aclosing(blobs.get("key")) as chunks:
        async for _ in chunks:
            break
    assert len(await blobs.read("key", 5, 10)) == 10


@pytest.mark.parametrize("sent", [3 * MIB - 1, 3 * MIB + 1, 0, 9 * MIB], ids=["short", "long", "empty", "far longer"])
async def test_a_body_of_another_size_stores_nothing(blobs: Blobs, sent: int) -> None:
    """What was there before stays."""
    await blobs.put_bytes("key", b"before")
    with pytest.raises(Invalid, match="declared"):
        await blobs.put("key", in_chunks(content(sent)), 3 * MIB)
    assert await everything(blobs, "key") == b"before"
    assert [info.key async for info in blobs.list()] == ["key"]


async def test_a_body_that_raises_stores_nothing(blobs: Blobs) -> None:
    """Even after its last byte, and whatever it raises comes out as it is."""

    class Gone(Exception):
        pass

    for size_bytes in (100, 3 * MIB):
        data = content(size_bytes)
        with pytest.raises(Gone):
            await blobs.put("key", in_chunks(data, then=Gone()), size_bytes)
        with pytest.raises(Gone):
            await blobs.put("key", Digest(in_chunks(data, then=Gone())), size_bytes)
        with pytest.raises(Gone):
            await blobs.put("key", in_chunks(data[: size_bytes // 2], then=Gone()), size_bytes)
    with pytest.raises(Gone):
        await blobs.put("key", in_chunks(content(20 * MIB), then=Gone()), None)
    assert [info async for info in blobs.list()] == []


async def test_a_cancelled_put_stores_nothing_and_lets_go_of_the_body(blobs: Blobs) -> None:
    """A client that hangs up cancels its handler: nothing may go on reading from it."""
    reading = asyncio.Event()
    let_go = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield content(2 * MIB)
        reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            let_go.set()

    putting = asyncio.create_task(blobs.put("key", stuck(), 3 * MIB))
    await reading.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert let_go.is_set()
    assert [info async for info in blobs.list()] == []


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 3 * PART_BYTES + 5], ids=str)
async def test_a_writer_stores_what_is_written(blobs: Blobs, size_bytes: int) -> None:
    """In one request or in parts, from one buffer that its owner fills again and again."""
    data = content(size_bytes)
    buffer = bytearray(700_001)
    async with blobs.writer("key", size_bytes) as writer:
        for start in range(0, size_bytes, len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            await writer.write(memoryview(buffer)[: len(piece)])
        assert await blobs.head("key") is None, "nothing is visible before the end"
    assert await everything(blobs, "key") == data
    assert await blobs.abort_multiparts("") == 0


@pytest.mark.parametrize("written", [10, 3 * PART_BYTES])
async def test_a_writer_that_fails_leaves_nothing(blobs: Blobs, written: int) -> None:
    """An error inside, too little, too much, a cancellation: no object, and no incomplete upload."""

    async def write(size_bytes: int | None, then: Awaitable[object] | None = None) -> None:
        async with blobs.writer("key", size_bytes) as writer:
            await writer.write(content(written))
            if then is not None:
                await then

    with pytest.raises(KeyError):
        await write(written * 2, then=_failing())
    with pytest.raises(Invalid, match="declared"):
        await write(written + 1)
    with pytest.raises(Invalid, match="declared"):
        await write(written - 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write(None, then=asyncio.Event().wait()), 1)
    assert [info async for info in blobs.list()] == []
    assert await blobs.abort_multiparts("") == 0


async def _failing() -> None:
    raise KeyError


async def test_incomplete_uploads_are_found_by_prefix(blobs: Blobs) -> None:
    """Those of a process that was killed; others stay."""
    for key in ("a/1", "a/2", "b/1"):
        await blobs.begin_multipart(key)
    assert await blobs.abort_multiparts("a/") == 2
    assert await blobs.abort_multiparts("") == 1


async def test_a_listing_has_every_page_in_order(blobs: Blobs) -> None:
    """More than one page of a thousand, by prefix."""
    keys = [f"a/{number:04}" for number in range(1201)]
    await asyncio.gather(*(blobs.put_bytes(key, b"x") for key in [*keys, "a-b/1", "b/1"]))
    found = [info async for info in blobs.list("a/")]
    assert [info.key for info in found] == keys
    assert {info.size_bytes for info in found} == {1}
    assert [info.key async for info in blobs.list("c/")] == []


async def test_deleting_what_is_not_there_is_fine(blobs: Blobs) -> None:
    """And deleting nothing, too."""
    await blobs.put_bytes("a", b"x")
    await blobs.delete(["a", "b", *(f"c{number}" for number in range(50))])
    await blobs.delete([])
    assert [info async for info in blobs.list()] == []


async def test_a_presigned_url_is_all_one_needs(blobs: Blobs) -> None:
    """For one method and one key."""
    async with aiohttp.ClientSession() as session:
        async with session.put(blobs.presign("PUT", "key", 60), data=b"hello") as answer:
            assert answer.status == 200
        async with session.get(blobs.presign("GET", "key", 60)) as answer:
            assert await answer.read() == b"hello"
        async with session.delete(blobs.presign("GET", "key", 60)) as answer:
            assert answer.status == 403
    assert await everything(blobs, "key") == b"hello"
