"""Reading ahead of whoever reads: the next bytes come while the present ones are being worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Any


class Ahead(AsyncGenerator[bytes, None]):
    """The chunks of `source`, of which up to `ahead_bytes` are held before they are asked for (one chunk at least).

    Begins at once, in a task of its own, which ends with the source, with an error (raised after the chunks that came
    before it), or with `aclose`: whoever has one closes it, also if it was never iterated.
    """

    def __init__(self, source: AsyncGenerator[bytes, None], ahead_bytes: int) -> None:
        self._source = source
        self._ahead_bytes = ahead_bytes
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._moved = asyncio.Event()  # in either direction: a chunk has come, or gone, or none comes any more
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(lambda _: self._moved.set())

    @property
    def held_bytes(self) -> int:
        """How much is held now."""
        return self._held_bytes

    async def _read(self) -> None:
        async with aclosing(self._source) as chunks:
            async for chunk in chunks:
                self._held.append(chunk)
                self._held_bytes += len(chunk)
                self._moved.set()
                while self._held_bytes >= self._ahead_bytes:
                    self._moved.clear()
                    await self._moved.wait()

    async def __anext__(self) -> bytes:
        while not self._held:
            if self._task.done():
                if not self._task.cancelled():
                    self._task.result()
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        chunk = self._held.popleft()
        self._held_bytes -= len(chunk)
        self._moved.set()
        return chunk

    async def aclose(self) -> None:
        """Stop reading; what is held is gone."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # of no interest any more
        self._held.clear()
        self._held_bytes = 0

    async def asend(self, value: None) -> bytes:
        """The next chunk."""
        return await self.__anext__()

    async def athrow(
        self, typ: Any, val: BaseException | object | None = None, tb: TracebackType | None = None, /
    ) -> bytes:
        """Close; the error is the caller's."""
        await self.aclose()
        raise typ if isinstance(typ, BaseException) else typ(val)
