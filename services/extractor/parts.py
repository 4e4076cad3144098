"""The bytes of a stream in order, while its parts are landing in any order."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.blobs import Blobs
from libs.contracts import Part, PartStream
from libs.contracts.keys import part_key
from libs.db import Pool, connection
from libs.digest import rechunked
from libs.errors import SlipwayError, Unavailable
from libs.signals import Signals, Subscription
from services.extractor import store
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import NEWS

CHUNK_BYTES = 512 * 1024  # what a thread is given at once: much work for one switch, little memory

log = logging.getLogger(__name__)


class Parked(Exception):
    """The next part does not come, and the place is needed."""


class PartDamaged(SlipwayError):
    """A stored part does not have the size it was stored with."""


class Parts:
    """Reads each part once, as it becomes the next one; waits for those that are not there yet."""

    def __init__(
        self, stream: PartStream, *, pool: Pool, blobs: Blobs, signals: Signals, config: ExtractorConfig
    ) -> None:
        self._stream = stream
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._config = config
        self._news: Subscription | None = None
        self._in_the_way = False
        self.done = 0  # parts read to their end
        self.idle_since: float | None = None  # monotonic; None while there is something to read

    def give_way(self) -> None:
        """Let go, if it waits; somebody needs the place."""
        self._in_the_way = True
        if self._news is not None:
            self._news.signal()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All bytes of the stream, about CHUNK_BYTES at a time.

        Raises: Parked; Unavailable, ObjectNotFound.
        """
        with self._signals.subscribe(NEWS, self._stream.id) as self._news:
            while self.done < self._stream.total_parts:
                for part in await self._landed(self._news):
                    async with aclosing(self._read(part)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    self.done = part.number + 1

    async def _landed(self, news: Subscription) -> list[Part]:
        """The parts that can be read next, at least one. Raises: Parked."""
        self.idle_since = time.monotonic()
        try:
            while not (parts := await self._look()):
                patience_s = self.idle_since + self._config.park_after_s - time.monotonic()
                if patience_s <= 0 or self._in_the_way:
                    raise Parked
                await news.wait(min(patience_s, self._config.poll_s))
            return parts
        finally:
            self.idle_since = None

    async def _look(self) -> list[Part]:
        try:
            async with connection(self._pool) as tx:
                return await store.parts_from(tx, self._stream.id, self.done)
        except Unavailable as trouble:  # nothing is lost by waiting, except perhaps the lease, which its keeper sees
            log.warning("cannot look for parts: %s", trouble)
            return []

    async def _read(self, part: Part) -> AsyncGenerator[bytes, None]:
        size_bytes = 0
        async with aclosing(self._blobs.get(self._key(part))) as body, aclosing(rechunked(body, CHUNK_BYTES)) as chunks:
            async for chunk in chunks:
                size_bytes += len(chunk)
                yield chunk
        if size_bytes != part.size_bytes:
            raise PartDamaged(f"Part {part.number} has {size_bytes} bytes in storage instead of {part.size_bytes}.")

    def _key(self, part: Part) -> str:
        stream = self._stream
        if stream.key is not None:
            return stream.key
        return part_key(stream.project_id, stream.upload_id, stream.number, part.number, part.attempt)
