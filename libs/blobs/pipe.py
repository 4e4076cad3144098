"""A body on its way from the task that reads it to the one that sends it."""

from __future__ import annotations

import asyncio

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from libs.blobs.outgoing import Buffer
from libs.errors import Unavailable


class Pipe(Payload):
    """A request's body of known size that is handed over chunk by chunk; holds the one that is being sent."""

    def __init__(self, size_bytes: int, *, stall_s: float) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._size = size_bytes  # aiohttp sends it as Content-Length
        self._stall_s = stall_s
        self._chunks: asyncio.Queue[Buffer] = asyncio.Queue(maxsize=1)
        self._taken = asyncio.Event()  # the last chunk is on its way, or nobody takes another one
        self._taken.set()
        self._transport: asyncio.WriteTransport | None = None

    def sent_by(self, request: asyncio.Task[object]) -> None:
        """Name the request whose body this is; when it ends, no chunk is waited for any more."""
        self._request = request
        request.add_done_callback(lambda _: self._taken.set())

    async def push(self, chunk: Buffer) -> None:
        """Hand a chunk over to the request, as soon as the one before is on its way.

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
        self._consumed = True  # cannot be sent again, not even by aiohttp where a connection was found closed
        self._transport = writer.transport
        left = self._size or 0
        while left > 0:
            chunk = await self._chunks.get()
            left -= len(chunk)
            await writer.write(chunk)
            self._taken.set()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not text."""
        raise TypeError("a streamed body is not text")
