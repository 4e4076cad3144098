"""Bodies in, bodies out and small requests have connections of their own, and none is waited for without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from libs.blobs import Blobs, pools
from libs.errors import Overloaded
from tests.integration.blobs.contents import MIB, content, in_chunks
from tests.support.stack import Stack

LARGE = content(30 * MIB)  # more than sockets and buffers hold


@pytest.fixture
async def small(stack: Stack, blobs: Blobs, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Blobs]:
    """Two connections for uploads, two for downloads, two for the rest, and little patience."""
    monkeypatch.setattr(pools, "BODY_WAIT_S", 0.1)
    await blobs.put_bytes("large", LARGE)
    async with Blobs.open(stack.bucket_url(namespace), uploads=2, downloads=2, calls=2) as small:
        yield small


@asynccontextmanager
async def uploads_held(blobs: Blobs) -> AsyncIterator[None]:
    """Two bodies whose clients do not go on."""
    started, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        yield bytes(MIB)
        started.release()
        await go_on.wait()
        yield bytes(MIB)

    streams = [asyncio.create_task(blobs.put(f"held{number}", body(), 3 * MIB)) for number in range(2)]
    for _ in streams:
        await started.acquire()
    yield
    go_on.set()
    await asyncio.gather(*streams)


@asynccontextmanager
async def downloads_held(blobs: Blobs) -> AsyncIterator[None]:
    """Two bodies that nobody reads on."""
    async with AsyncExitStack() as held:
        for _ in range(2):
            chunks = await held.enter_async_context(aclosing(blobs.get("large")))
            await anext(chunks)
        yield


async def everything(blobs: Blobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


async def test_uploads_that_stand_still_stop_only_uploads(small: Blobs) -> None:
    """One more is refused, soon; when they have ended, it goes."""
    async with uploads_held(small):
        with pytest.raises(Overloaded) as refused:
            await small.put("one more", in_chunks(LARGE), len(LARGE))
        assert refused.value.retry_after_s
        assert await everything(small, "large") == LARGE
        await small.put_bytes("small", b"x")
        assert await small.read("small", 0, 1) == b"x"
    await small.put("one more", in_chunks(LARGE), len(LARGE))


async def test_downloads_that_nobody_reads_stop_only_downloads(small: Blobs) -> None:
    """Headers of large objects are small requests: validation goes on, too."""
    async with downloads_held(small):
        with pytest.raises(Overloaded):
            await everything(small, "large")
        assert await small.read("large", 8, 1000) == LARGE[8:1008]
        await small.put("another", in_chunks(LARGE), len(LARGE))
        assert await small.head("another") is not None
    assert await everything(small, "large") == LARGE


async def test_small_requests_take_turns(small: Blobs) -> None:
    """More than there are connections; none fails, since none takes long."""
    await asyncio.gather(*(small.put_bytes(f"b{number}", b"x") for number in range(50)))
    assert len([info async for info in small.list("b")]) == 50
