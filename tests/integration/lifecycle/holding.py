"""A TCP proxy before the S3 server that holds one request back: the moment to kill who sent it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) /([^?\s]*)\S* HTTP/1\.1\r\n")

Matches = Callable[[str, str], bool]  # method, and target without its query


@dataclass
class HoldingProxy:
    """Holds the first request that `matches`, before the server has it, or with `answered` its answer."""

    matches: Matches
    answered: bool
    port: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def connection(
        self, host: str, port: int, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        reader, writer = streams
        there, back = await asyncio.open_connection(host, port)
        withheld = False

        async def requests() -> None:
            nonlocal withheld
            while chunk := await reader.read(256 * 1024):
                if (seen := _REQUEST.match(chunk)) and self.matches(seen[1].decode(), seen[2].decode()):
                    withheld = True
                    if not self.answered:
                        self.held.set()
                        await asyncio.Event().wait()
                back.write(chunk)
                await back.drain()

        async def answers() -> None:
            while chunk := await there.read(256 * 1024):
                if withheld:
                    self.held.set()
                    await asyncio.Event().wait()
                writer.write(chunk)
                await writer.drain()

        tasks = [asyncio.create_task(requests()), asyncio.create_task(answers())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (writer, back):
                each.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # connections that broke: their client was killed


@asynccontextmanager
async def holding(s3_url: str, matches: Matches, *, answered: bool) -> AsyncIterator[tuple[HoldingProxy, str]]:
    """The proxy, and the address of the server by way of it: what replaces that of `s3_url`."""
    upstream = urlsplit(s3_url).netloc.rpartition("@")[2]
    host, _, port = upstream.partition(":")
    proxy = HoldingProxy(matches, answered)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        with suppress(OSError, asyncio.CancelledError):
            await proxy.connection(host, int(port), (reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)
