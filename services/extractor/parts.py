"""Reads the bytes of a stream in order, ahead of the caller, while its parts are stored in any order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import msgspec

from libs.blobs import Blobs
from libs.contracts import Part, PartStream
from libs.contracts.keys import part_key
from libs.db import Pool, connection
from libs.errors import SlipwayError, Unavailable
from libs.signals import Signals, Subscription
from libs.tasks import end
from services.extractor.config import ExtractorConfig
from services.extractor.readers import reading
from services.extractor.store import files
from services.extractor.store.streams import READABLE

SLICE_BYTES = 2 * 1024 * 1024  # one request, and the unit of work of a thread
SLICES_AHEAD = 4  # requested or waiting to be unpacked: 100 MB/s from a store with 50 ms of latency

log = logging.getLogger(__name__)


class GaveWay(Exception):
    """The next part does not arrive, and the place is needed for another stream."""


class PartDamaged(SlipwayError):
    """A stored part does not have the size it was stored with."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of a part."""

    part: Part
    start: int
    length: int

    @property
    def is_last(self) -> bool:
        """Whether it ends its part."""
        return self.start + self.length >= self.part.size_bytes


class Parts:
    """Reads each part once, in order; waits for those that are not stored yet."""

    def __init__(
        self, stream: PartStream, *, owner: str, pool: Pool, blobs: Blobs, signals: Signals, config: ExtractorConfig
    ) -> None:
        """`owner`: the process that holds the stream's lease."""
        self._stream = stream
        self._owner = owner
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._config = config
        self._signal: Subscription | None = None
        self._wanted_by_others = False
        self._slices: deque[Slice] = deque()  # of stored parts, not requested yet
        self._skip = 0  # bytes before the first one that is wanted
        self.known = 0  # stored parts, from the first one on
        self.done = 0  # parts read to their end
        self.idle_since: float | None = None  # monotonic; None while there is something to read

    def read_from(self, key: str) -> None:
        """Read the only part from another object than the stream names: a copy of it."""
        self._stream = msgspec.structs.replace(self._stream, key=key)

    def give_way(self) -> None:
        """Raise GaveWay from `chunks` if it is waiting: another stream needs the place."""
        self._wanted_by_others = True
        if self._signal is not None:
            self._signal.signal()

    async def chunks(self, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield all bytes of the stream from `start` on, at most SLICE_BYTES at a time.

        Up to SLICES_AHEAD slices are read ahead, also of the next parts.
        Raises: GaveWay; PartDamaged; Unavailable, ObjectNotFound.
        """
        self._skip = start
        ahead: deque[tuple[Slice, asyncio.Task[bytes]]] = deque()
        with (
            self._signals.subscribe(READABLE, self._stream.id) as self._signal,
            reading(self._owner, self._stream.id, self._signal),
        ):
            await self._look()
            try:
                while True:
                    await self._read_ahead(ahead, self._signal)
                    if not ahead:
                        if self.known >= self._stream.total_parts:
                            return
                        await self._wait(self._signal)
                        continue
                    slice_, read = ahead.popleft()
                    content = await read
                    if slice_.is_last:
                        self.done = slice_.part.number + 1
                    if content:
                        yield content
            finally:
                await _give_up([read for _, read in ahead])

    async def _read_ahead(self, ahead: deque[tuple[Slice, asyncio.Task[bytes]]], signal: Subscription) -> None:
        while len(ahead) < SLICES_AHEAD:
            if not self._slices and not (await signal.wait(0) and await self._look()):
                return
            slice_ = self._slices.popleft()
            ahead.append((slice_, asyncio.create_task(self._read(slice_))))

    async def _wait(self, signal: Subscription) -> None:
        """Return when there is something to read. Raises: GaveWay."""
        self.idle_since = time.monotonic()
        try:
            while True:
                patience_s = self.idle_since + self._config.idle_s - time.monotonic()
                if patience_s <= 0 or self._wanted_by_others:
                    raise GaveWay
                await signal.wait(min(patience_s, self._config.poll_s))
                if await self._look():
                    return
        finally:
            self.idle_since = None

    async def _look(self) -> bool:
        """Look for newly stored parts. Returns whether there is one to read."""
        if self.known >= self._stream.total_parts:
            return False
        try:
            async with connection(self._pool) as tx:
                parts = await files.parts_from(tx, self._stream.id, self.known)
        except Unavailable as unavailable:
            log.warning("cannot look for parts: %s", unavailable)
            if self.idle_since is not None:
                self.idle_since = time.monotonic()  # parts may have been stored: it does not count as idle
            return False
        for part in parts:
            self._cut(part)
            self.known = part.number + 1
        return bool(self._slices)

    def _cut(self, part: Part) -> None:
        """Queue the wanted slices of a part; at least one, so that its size is checked."""
        start = min(self._skip, part.size_bytes)
        self._skip -= start
        if start and start == part.size_bytes:
            self.done = part.number + 1
            return
        while True:
            length = min(SLICE_BYTES, part.size_bytes - start)
            self._slices.append(Slice(part, start, length))
            start += length
            if start >= part.size_bytes:
                return

    async def _read(self, slice_: Slice) -> bytes:
        """Raises: PartDamaged if the part ends before or after the end of its last slice."""
        part = slice_.part
        content = await self._blobs.read(self._key(part), slice_.start, slice_.length + int(slice_.is_last))
        if len(content) != slice_.length:
            found = slice_.start + len(content)
            raise PartDamaged(f"Part {part.number} has {found} bytes in storage instead of {part.size_bytes}.")
        return content

    def _key(self, part: Part) -> str:
        stream = self._stream
        if stream.key is not None:
            return stream.key
        return part_key(stream.project_id, stream.upload_id, stream.number, part.number, part.attempt)


async def _give_up(reads: list[asyncio.Task[bytes]]) -> None:
    """Cancel reads whose results are not needed."""
    await end(*reads)
    for read in reads:
        if not read.cancelled():
            read.exception()  # the first one was raised
