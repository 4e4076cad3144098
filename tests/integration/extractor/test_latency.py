"""A store that is 50 ms away: what comes next is asked for while what is there is worked on."""

from __future__ import annotations

import random
from collections import Counter

from libs.blobs import Blobs
from services.extractor.parts import SLICES_AHEAD
from tests.integration.extractor.given import Given, tar_of
from tests.support.latency import FarAway
from tests.support.stack import Stack

MIB = 1024 * 1024


class Watched:
    """Object storage that knows which keys are being read at a time."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._reading: Counter[str] = Counter()
        self.most_at_once = 0
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._blobs, name)

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.reads += 1
        self._reading[key] += 1
        self.most_at_once = max(self.most_at_once, len(+self._reading))
        try:
            return await self._blobs.read(key, start, length)
        finally:
            self._reading[key] -= 1


async def test_next_parts_are_requested_while_the_present_one_is_worked_on(
    given: Given, stack: Stack, namespace: str
) -> None:
    """As many as are allowed, each once, while parts of the large member are on their way to the store."""
    content = {"model.bin": random.Random(1).randbytes(40 * MIB)}
    upload = given.upload(tar_of(content), part_bytes=2 * MIB)
    await upload.send()
    async with FarAway.open(stack.bucket_url(namespace)) as (proxy, url), Blobs.open(url) as blobs:
        watched = Watched(blobs)
        async with given.working(blobs=watched):
            await upload.open(*range(len(upload.pieces)))
            assert await given.contents(await upload.extracted()) == content
    assert watched.most_at_once == SLICES_AHEAD
    assert watched.reads == len(upload.pieces)
    assert proxy.busiest > SLICES_AHEAD + 1  # writes beside them
