"""A store 50 ms away: parts are in flight side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from libs.blobs import Blobs
from libs.blobs.multipart import PART_BYTES
from libs.blobs.writer import PARTS_IN_FLIGHT
from libs.errors import Unavailable
from tests.integration.blobs.contents import MIB, content
from tests.integration.blobs.faulty import FaultyProxy, answered
from tests.support.latency import Proxy, store_further_away
from tests.support.stack import Stack

PARTS = 8


@dataclass
class Far:
    """Object storage from far away."""

    blobs: Blobs
    proxy: Proxy


@pytest.fixture
async def far(stack: Stack, blobs: Blobs, namespace: str) -> AsyncIterator[Far]:
    async with store_further_away(stack.bucket_url(namespace)) as (proxy, url), Blobs.open(url) as through:
        yield Far(through, proxy)


async def test_a_writer_has_several_parts_in_flight(far: Far, blobs: Blobs) -> None:
    """But no more than are allowed; what comes out is what was written."""
    data = content(PARTS * PART_BYTES + 3)
    async with far.blobs.writer("key", len(data)) as writer:
        for start in range(0, len(data), MIB):
            await writer.write(data[start : start + MIB])
    assert 2 <= far.proxy.most_at_once("PUT") <= PARTS_IN_FLIGHT
    assert b"".join([chunk async for chunk in blobs.get("key")]) == data


async def test_writers_share_the_memory_of_what_is_in_flight(far: Far) -> None:
    """Where there is none left, each has one part in flight, as ever, and none waits for another."""
    budget = far.blobs._transport.parts_ahead
    all_of_it = budget.free_bytes
    assert budget.take(all_of_it)
    async with far.blobs.writer("key", 3 * PART_BYTES) as writer:
        for _ in range(3):
            await writer.write(bytes(PART_BYTES))
    assert far.proxy.most_at_once("PUT") == 1
    budget.give_back(all_of_it)
    async with far.blobs.writer("key", None) as writer:
        for _ in range(5):
            await writer.write(bytes(2 * PART_BYTES))
            assert budget.free_bytes >= 0
    assert far.proxy.most_at_once("PUT") > 1
    assert budget.free_bytes == all_of_it


async def test_a_part_that_fails_ends_the_writer_and_leaves_nothing(stack: Stack, blobs: Blobs, namespace: str) -> None:
    """Whichever it is, and whatever else is in flight."""
    async with (
        FaultyProxy.open(stack.bucket_url(namespace)) as (proxy, url),
        Blobs.open(url) as through,
    ):

        async def write() -> None:
            async with through.writer("key", PARTS * PART_BYTES) as writer:
                await writer.write(bytes(2 * PART_BYTES))
                await proxy.arm(*(answered("403 Forbidden", "AccessDenied") for _ in range(PARTS)))
                for _ in range(PARTS - 2):
                    await writer.write(bytes(PART_BYTES))

        with pytest.raises(Unavailable, match="403"):
            await write()
        assert through._transport.parts_ahead.free_bytes > 0
    assert await blobs.head("key") is None
