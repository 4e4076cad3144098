"""A body on its way from the task that reads it to the one that sends it."""

from __future__ import annotations

import asyncio

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from libs.blobs.outgoing import Buffer
from libs.errors import Unavailable


class Pipe(Payload):
    """A request's body of known size that is handed over chunk by chunk; one waits while another is being sent."""

    def __init__(self, size_bytes: int, *, stall_s: float) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._size = size_bytes  # aiohttp sends it as Content-Length
        self._stall_s = stall_s
        self._chunks: asyncio.Queue[Buffer] = asyncio.Queue(maxsize=1)
        self._transport: asyncio.WriteTransport | None = None

    async def push(self, chunk: Buffer, request: asyncio.Task[object]) -> None:
        """Hand a chunk over to `request`, which sends this body, as soon as it has taken the one before.

        Raises: what `request` raised, if it has ended; Unavailable if it takes nothing for too long.
        """
        if not request.done() and not self._chunks.full():
            self._chunks.put_nowait(chunk)
            return
        handed = asyncio.create_task(self._chunks.put(chunk))
        try:
            await asyncio.wait((handed, request), timeout=self._stall_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            handed.cancel()
        if request.done():
            request.result()
            raise Unavailable("Object storage answered before it had the whole body.")
        if not handed.done():
            raise Unavailable(f"Object storage accepted no byte for {self._stall_s:g} s.")

    def abort(self) -> None:
        """Break the connection off at once; what is in its buffer is not sent any more.

        Closing it would first wait until the server has taken the buffer, which one that hangs never does.
        """
        if self._transport is not None:
            self._transport.abort()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Called by aiohttp: send what is handed over until it is all there is."""
        self._consumed = True  # cannot be sent again, not even by aiohttp where a connection was found closed
        self._transport = writer.transport
        left = self._size or 0
        while left > 0:
            chunk = await self._chunks.get()
            left -= len(chunk)
            await writer.write(chunk)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not text."""
        raise TypeError("a streamed body is not text")
