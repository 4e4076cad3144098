"""A TCP proxy before the S3 server that fails as networks and servers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Fault = Callable[[Streams, Callable[[], Awaitable[Streams]]], Awaitable[None]]


class FaultyProxy:
    """Passes connections on to `upstream`; each armed fault happens to one new connection, in their order."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0  # since the last `arm`
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, s3_url: str) -> AsyncIterator[tuple[FaultyProxy, str]]:
        """The proxy, and `s3_url` by way of it."""
        url = urlsplit(s3_url)
        credentials, _, upstream = url.netloc.rpartition("@")
        proxy = cls(upstream)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        async with server:
            yield proxy, url._replace(netloc=f"{credentials}@127.0.0.1:{proxy.port}").geturl()
            await proxy._drop_all()

    async def arm(self, *faults: Fault) -> None:
        """Cut what is connected, and let these happen next."""
        await self._drop_all()
        self._faults = list(faults)
        self.connections = 0

    async def _drop_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        fault = self._faults.pop(0) if self._faults else passed_on
        opened: list[asyncio.StreamWriter] = [writer]

        async def connect() -> Streams:
            host, port = self._upstream.split(":")
            streams = await asyncio.open_connection(host, int(port))
            opened.append(streams[1])
            return streams

        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await fault((reader, writer), connect)
        finally:
            self._tasks.discard(task)
            for each in opened:
                each.transport.abort()


async def passed_on(client: Streams, connect: Callable[[], Awaitable[Streams]]) -> None:
    """No fault."""
    await _both(client, await connect())


def cut_answer(after_bytes: int) -> Fault:
    """The connection breaks when so much of the answer has passed."""

    async def fault(client: Streams, connect: Callable[[], Awaitable[Streams]]) -> None:
        await _both(client, await connect(), down_bytes=after_bytes)

    return fault


def cut_request(after_bytes: int) -> Fault:
    """The connection breaks when so much of the request has passed."""

    async def fault(client: Streams, connect: Callable[[], Awaitable[Streams]]) -> None:
        await _both(client, await connect(), up_bytes=after_bytes)

    return fault


def lost_answer() -> Fault:
    """The server does as it was asked, and nobody hears of it."""
    return cut_answer(0)


def answered(status: str, code: str, *, after_bytes: int = 0, read_on: bool = True) -> Fault:
    """An error instead of the server's answer, after so much of the request; then it reads on, or hangs up."""
    body = f"<Error><Code>{code}</Code></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    async def fault(client: Streams, _connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = client
        seen = len(await reader.readuntil(b"\r\n\r\n"))
        while seen < after_bytes and (chunk := await reader.read(CHUNK_BYTES)):
            seen += len(chunk)
        writer.write(head + body)
        await writer.drain()
        while read_on and await reader.read(CHUNK_BYTES):
            pass

    return fault


def deaf() -> Fault:
    """Accepts the connection, and reads nothing of it."""

    async def fault(client: Streams, _connect: Callable[[], Awaitable[Streams]]) -> None:
        transport = client[1].transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await asyncio.Event().wait()

    return fault


def mute() -> Fault:
    """Reads everything, and never answers."""

    async def fault(client: Streams, _connect: Callable[[], Awaitable[Streams]]) -> None:
        while await client[0].read(CHUNK_BYTES):
            pass

    return fault


async def _both(
    client: Streams, server: Streams, *, up_bytes: int | None = None, down_bytes: int | None = None
) -> None:
    """Pass both directions on until either ends, or has had its share."""
    directions = (
        asyncio.create_task(_one(client[0], server[1], up_bytes)),
        asyncio.create_task(_one(server[0], client[1], down_bytes)),
    )
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.wait(directions)
        for direction in directions:
            if not direction.cancelled():
                direction.exception()  # a connection that broke, which is what this is for


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        if budget is not None:
            if len(chunk) > budget:
                writer.write(chunk[:budget])
                await writer.drain()
                return
            budget -= len(chunk)
        writer.write(chunk)
        await writer.drain()
