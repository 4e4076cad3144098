"""A TCP proxy that makes a server seem far away: every byte is late in each direction, and none is slower for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 256 * 1024
HELD_CHUNKS = 64  # on their way, each direction: more than the latency times what any store takes

Late = asyncio.Queue[tuple[float, bytes]]


class FarAway:
    """Passes connections on, `delay_s` late each way; counts the requests that wait for their answer."""

    def __init__(self, upstream: str, delay_s: float) -> None:
        self._upstream = upstream
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[int] = set()
        self.busiest = 0  # connections that waited for an answer, at the most at a time

    @classmethod
    @asynccontextmanager
    async def open(cls, s3_url: str, delay_s: float = 0.025) -> AsyncIterator[tuple[FarAway, str]]:
        """The proxy, and `s3_url` by way of it."""
        url = urlsplit(s3_url)
        credentials, _, upstream = url.netloc.rpartition("@")
        proxy = cls(upstream, delay_s)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            yield proxy, url._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()
            for task in proxy._tasks:
                task.cancel()
            if proxy._tasks:
                await asyncio.wait(proxy._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        host, port = self._upstream.split(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, there_writer, id(task), asks=True))
                    group.create_task(self._pass_on(there_reader, writer, id(task), asks=False))
        except BaseExceptionGroup:
            return  # a connection that broke, as connections do
        finally:
            self._tasks.discard(task)
            self._asking.discard(id(task))
            writer.transport.abort()
            there_writer.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int, *, asks: bool
    ) -> None:
        late: Late = asyncio.Queue(HELD_CHUNKS)
        clock = asyncio.get_running_loop().time

        async def deliver() -> None:
            while True:
                due, chunk = await late.get()
                await asyncio.sleep(due - clock())
                if not chunk:
                    raise ConnectionResetError("one side has closed")
                writer.write(chunk)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            while True:
                chunk = await reader.read(CHUNK_BYTES)
                self._count(connection, asks=asks)
                await late.put((clock() + self._delay_s, chunk))
                if not chunk:
                    return

    def _count(self, connection: int, *, asks: bool) -> None:
        if asks:
            self._asking.add(connection)
            self.busiest = max(self.busiest, len(self._asking))
        else:
            self._asking.discard(connection)
