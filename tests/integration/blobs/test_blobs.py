"""Object storage does what it says, on every real S3 server that `--stores` names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from deploy.local import server
from libs.blobs import Blobs, copying
from libs.blobs.multipart import PART_BYTES
from libs.digest import Digest
from libs.errors import Invalid, ObjectNotFound
from tests.integration.blobs.contents import MIB, content, in_chunks
from tests.support.eventually import eventually
from tests.support.stack import Stack
from tests.support.stores import OTHER_STORES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test once for each store."""
    stores = metafunc.config.getoption("--stores").split(",")
    metafunc.parametrize("store_url", stores, indirect=True, scope="module")


# What a server is known to do wrong: none to run Slipway on, but good to find what we take for granted.
WRONG = {
    ("nanio", "test_a_range_beyond_the_end_is_cut"): "answers 400 to a range that ends beyond the object",
    ("nanio", "test_the_store_copies_a_large_object_in_parts"): "takes UploadPartCopy for an empty part",
}


@pytest.fixture(scope="module")
def store_url(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the store is: a URL that lacks the bucket."""
    if request.param == "juicefs":  # which the stack has
        yield stack.bucket_url("")
        return
    store = OTHER_STORES[request.param](stack.directory / request.param)
    process = stack.wait(server.start(store))
    yield store.url
    stack.wait(process.stop(within_s=30))


@pytest.fixture(autouse=True)
def _wrong(request: pytest.FixtureRequest) -> None:
    """A test that a server is known to fail has to fail there."""
    callspec, name = request.node.callspec, request.node.originalname
    if reason := WRONG.get((callspec.params["store_url"], name)):
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.fixture
async def blobs(store_url: str, namespace: str) -> AsyncIterator[Blobs]:
    """An empty bucket; it goes with the server's folder."""
    async with Blobs.open(store_url + namespace) as blobs:
        yield blobs


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


@pytest.mark.parametrize("size_bytes", [0, 1, 5 * MIB + 3])
async def test_the_store_copies_an_object(blobs: Blobs, size_bytes: int) -> None:
    """Under keys that have to be encoded too; what is written to the source later is not in the copy."""
    data = content(size_bytes)
    await blobs.put_bytes("a source/ä+b", data)
    await blobs.copy("a source/ä+b", "a copy/~1", size_bytes)
    await blobs.put_bytes("a source/ä+b", b"other")
    assert await everything(blobs, "a copy/~1") == data


async def test_the_store_copies_a_large_object_in_parts(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a range of the source; over what was there before."""
    monkeypatch.setattr(copying, "COPY_BYTES", PART_BYTES)
    data = content(2 * PART_BYTES + 1)
    await blobs.put_bytes("copy", b"before")
    await blobs.put_bytes("source", data)
    await blobs.copy("source", "copy", len(data))
    assert await everything(blobs, "copy") == data
    assert await blobs.abort_multiparts("") == 0


async def test_the_store_copies_from_another_bucket(store_url: str, blobs: Blobs, namespace: str) -> None:
    """Of the same server, with the same credentials."""
    async with Blobs.open(f"{store_url}{namespace}2") as other:
        await other.put_bytes("key", b"hello")
        await blobs.copy("key", "copy", 5, source_bucket=f"{namespace}2")
        assert await everything(blobs, "copy") == b"hello"
        assert await blobs.head("key") is None


async def test_only_what_is_there_and_of_its_size_is_copied(blobs: Blobs) -> None:
    await blobs.put_bytes("source", b"hello")
    with pytest.raises(Invalid, match="has 5 bytes, not 6"):
        await blobs.copy("source", "copy", 6)
    with pytest.raises(ObjectNotFound):
        await blobs.copy("nothing", "copy", 5)
    assert await blobs.head("copy") is None


async def test_head_tells_size_and_age(blobs: Blobs) -> None:
    """None for what is not there."""
    await blobs.put_bytes("key", b"hello")
    info = await blobs.head("key")
    assert info is not None
    assert (info.key, info.size_bytes) == ("key", 5)
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert await blobs.head("nothing") is None


@pytest.mark.parametrize(("start", "length", "expected"), [(8, 100, b"89"), (10, 1, b""), (99, 5, b"")])
async def test_a_range_beyond_the_end_is_cut(blobs: Blobs, start: int, length: int, expected: bytes) -> None:
    """As a slice is."""
    await blobs.put_bytes("digits", b"0123456789")
    assert await blobs.read("digits", start, length) == expected
    assert b"".join([chunk async for chunk in blobs.get("digits", start)]) == b"0123456789"[start:]


@pytest.mark.parametrize(("start", "length", "expected"), [(0, 4, b"0123"), (3, 2, b"34"), (2, 0, b"")])
async def test_a_range_is_a_slice(blobs: Blobs, start: int, length: int, expected: bytes) -> None:
    """With any server's answer to a range, 200 or 206."""
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

    async def nothing_else() -> bool:
        return [info.key async for info in blobs.list()] == ["key"]

    await eventually(nothing_else)  # a server may take its time to clear away what it was sent


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
    reached = asyncio.Event()

    async def write(size_bytes: int | None, then: Callable[[], Awaitable[object]] | None = None) -> None:
        async with blobs.writer("key", size_bytes) as writer:
            await writer.write(content(written))
            reached.set()
            if then is not None:
                await then()

    with pytest.raises(KeyError):
        await write(written * 2, then=_failing)
    with pytest.raises(Invalid, match="declared"):
        await write(written + 1)
    with pytest.raises(Invalid, match="declared"):
        await write(written - 1)
    reached.clear()
    writing = asyncio.create_task(write(None, then=asyncio.Event().wait))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
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
    left = iter([*keys, "a-b/1", "b/1"])

    async def put() -> None:
        for key in left:
            await blobs.put_bytes(key, b"x")

    await asyncio.gather(*(put() for _ in range(20)))
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


async def test_writing_where_others_delete_loses_nothing(blobs: Blobs) -> None:
    """Some servers remove a folder with its last object: what is written there meanwhile is kept once answered."""

    async def come_and_go(number: int) -> None:
        for turn in range(20):
            key = f"folder/{turn % 3}/{number}-{turn}"
            await blobs.put_bytes(key, b"here")
            assert await blobs.read(key, 0, 4) == b"here"
            await blobs.delete([key])

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(come_and_go(number))
    assert [info async for info in blobs.list()] == []
