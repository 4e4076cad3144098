"""Bodies in both directions, ended where the other side is too slow for them to be worth holding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import StreamReader

from libs.errors import TooSlow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How slow the other side of a body may be."""

    idle_s: float = 60.0  # without a single byte
    min_rate_bytes_per_s: int = 16 * 1024  # averaged over `window_s`; slow but steady is fine
    window_s: float = 60.0

    def longest_s(self, size_bytes: int) -> float:
        """How long a body of a known size may take."""
        return self.idle_s + size_bytes / self.min_rate_bytes_per_s


DEFAULT_LIMITS = BodyLimits()


class Pace:
    """How fast the other side is, by the time that it makes us wait: a pause of ours does not count against it."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._waited_s = 0.0
        self._passed_bytes = 0

    async def kept(self, step: Awaitable[T]) -> T:
        """Await `step`, which only the other side can delay. Raises: TooSlow; whatever the step raises."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return await step
        except TimeoutError:
            raise TooSlow(
                f"Nothing of the body moved for {self._limits.idle_s:g} s; the connection is closed."
            ) from None
        finally:
            self._waited_s += time.monotonic() - began

    def passed(self, size_bytes: int, waited_s: float = 0.0) -> None:
        """Count bytes that moved. Raises: TooSlow, if they were too few since the last window ended."""
        self._passed_bytes += size_bytes
        self._waited_s += waited_s
        if self._waited_s < self._limits.window_s:
            return
        if self._passed_bytes < self._limits.min_rate_bytes_per_s * self._waited_s:
            raise TooSlow(
                f"Only {self._passed_bytes:,} bytes of the body moved in {self._waited_s:.0f} s, which is less than "
                f"{self._limits.min_rate_bytes_per_s:,} a second; the connection is closed."
            )
        self._waited_s, self._passed_bytes = 0.0, 0


class Body:
    """A request's body as it comes."""

    def __init__(self, content: StreamReader, limits: BodyLimits) -> None:
        self._content = content
        self._pace = Pace(limits)

    async def readany(self) -> bytes:
        """A piece as it arrived, at least one byte; b"" at the end. It is a copy of nothing, and joined to nothing.

        Raises: TooSlow; web.RequestPayloadError for a body that breaks off.
        """
        piece, more = b"", True
        while not piece and more:  # of a chunked body, an empty piece with more to come is the end of a chunk
            piece, more = await self._pace.kept(self._content.readchunk())
            more = more and not self._content.at_eof()  # of an empty body, aiohttp says so once in a process
            if piece or more:  # the end is no piece: a body that is all there has not been too slow
                self._pace.passed(len(piece))
        return piece

    def iter_any(self) -> AsyncIterator[bytes]:
        """The rest of the body, in pieces as they arrive. Raises: as `readany`."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self.readany():
            return data
        raise StopAsyncIteration
