"""A TCP proxy that makes a server far away: each byte arrives later, and no fewer of them a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 256 * 1024
MOST_UNDERWAY = 256  # chunks of a direction: what a long fat network holds, 64 MiB


@asynccontextmanager
async def far_away(url: str, one_way_s: float) -> AsyncIterator[str]:
    """`url` by way of a proxy through which everything takes `one_way_s` longer in each direction."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        with suppress(OSError, asyncio.CancelledError):
            there = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                await asyncio.gather(_delayed(reader, there[1], one_way_s), _delayed(there[0], writer, one_way_s))
            finally:
                there[1].transport.abort()
                writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}").geturl()
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what comes, each piece when it is `delay_s` old."""
    clock = asyncio.get_running_loop().time
    underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_UNDERWAY)

    async def receive() -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await underway.put((clock() + delay_s, chunk))
        await underway.put((clock() + delay_s, b""))

    async def send() -> None:
        while True:
            due, chunk = await underway.get()
            await asyncio.sleep(max(0.0, due - clock()))  # time itself is what this is about
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    await asyncio.gather(receive(), send())
