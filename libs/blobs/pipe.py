"""Passes a body from the task that reads it to the task that sends it."""

from __future__ import annotations

import asyncio

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from libs.blobs.outgoing import Buffer
from libs.errors import Unavailable


class Pipe(Payload):
    """The body of a request, of known size, passed in chunk by chunk. Holds the chunk that is being sent."""

    def __init__(self, size_bytes: int, *, stall_s: float) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._size = size_bytes  # aiohttp sends it as Content-Length
        self._stall_s = stall_s
        self._chunks: asyncio.Queue[Buffer] = asyncio.Queue(maxsize=1)
        self._taken = asyncio.Event()  # the last chunk is being sent, or no chunk is accepted any more
        self._taken.set()
        self._transport: asyncio.WriteTransport | None = None

    def sent_by(self, request: asyncio.Task[object]) -> None:
        """Set the request of this body; when it ends, `push` does not wait any more."""
        self._request = request
        request.add_done_callback(lambda _: self._taken.set())

    async def push(self, chunk: Buffer) -> None:
        """Pass a chunk to the request, as soon as the one before is being sent.

        Raises: what the request raised, if it has ended; Unavailable if it takes nothing for too long.
        """
        if not self._taken.is_set():
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._taken.wait()
            except TimeoutError:
                raise Unavailable(f"Object storage accepted no byte for {self._stall_s:g} s.") from None
        if self._request.done():
            self._request.result()
            raise Unavailable("Object storage answered before it had the whole body.")
        self._taken.clear()
        self._chunks.put_nowait(chunk)

    def abort(self) -> None:
        """Close the connection at once, without sending what is in its buffer.

        Closing it would first wait until the server has taken the buffer, which one that hangs never does.
        """
        if self._transport is not None:
            self._transport.abort()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Called by aiohttp: send the chunks that are passed in, until the end."""
        self._consumed = True  # so that aiohttp does not send it again after finding a connection closed
        self._transport = writer.transport
        left = self._size or 0
        while left > 0:
            chunk = await self._chunks.get()
            left -= len(chunk)
            await writer.write(chunk)
            self._taken.set()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raises: TypeError; the body is not text."""
        raise TypeError("a streamed body is not text")
