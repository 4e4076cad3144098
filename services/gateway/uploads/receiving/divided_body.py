"""The body of one request, cut into pieces of exact sizes as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from isal import isal_zlib

from libs.errors import PartSizeMismatch
from libs.web import Request
from services.gateway.dependencies import Dependencies


class DividedBody:
    """`size_bytes` in pieces; what does not fit into one piece is the beginning of the next."""

    def __init__(self, request: Request[Dependencies], size_bytes: int) -> None:
        self._request = request
        self._left = size_bytes
        self._size = size_bytes
        self._chunks: AsyncIterator[bytes] | None = None
        self._rest = b""  # received, and not yet handed on
        self._crc32 = 0

    @property
    def crc32(self) -> str:
        """Of what was received so far: 8 hexadecimal digits (IEEE)."""
        return f"{self._crc32:08x}"

    async def take(self, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """The next `size_bytes`. Raises: PartSizeMismatch, if the body ends before, or goes on after the last piece."""
        wanted = size_bytes
        while wanted:
            chunk = self._rest or await self._next()
            if not chunk:
                raise PartSizeMismatch(
                    f"The body ended after {self._size - self._left} bytes; {self._size} were announced."
                )
            piece, self._rest = chunk[:wanted], chunk[wanted:]
            wanted -= len(piece)
            self._left -= len(piece)
            if self._left == 0 and (self._rest or await self._next()):
                raise PartSizeMismatch(f"The body has more than the {self._size} bytes that were announced.")
            yield piece

    async def _next(self) -> bytes:
        if self._chunks is None:
            self._chunks = aiter((await self._request.content()).iter_any())
        async for chunk in self._chunks:
            self._crc32 = isal_zlib.crc32(chunk, self._crc32)
            return chunk
        return b""
