"""A TCP proxy that puts a server further away, and remembers which HTTP requests it saw and how they overlapped."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
_CHUNK_BYTES = 256 * 1024
_CHUNKS_ON_THE_WAY = 256


@dataclass
class Proxy:
    """On `port` of the loopback; requests by method, from their first byte to the first byte of their answer."""

    port: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and target
    open: set[tuple[str, str]] = field(default_factory=set)
    together: dict[str, set[frozenset[str]]] = field(default_factory=dict)  # by method: targets under way at a time

    def most_at_once(self, method: str, containing: str = "") -> int:
        """How many requests of this method for different targets were under way at the same time, at most."""
        seen = self.together.get(method, set())
        return max((sum(containing in target for target in targets) for targets in seen), default=0)

    def began(self, method: str, target: str) -> None:
        """A request's first bytes came from the client."""
        self.requests.append((method, target))
        self.open.add((method, target))
        under_way = frozenset(each for kind, each in self.open if kind == method)
        self.together.setdefault(method, set()).add(under_way)

    def answered(self, request: tuple[str, str]) -> None:
        """Its answer has begun."""
        self.open.discard(request)


@asynccontextmanager
async def further_away(host: str, port: int, delay_s: float) -> AsyncIterator[Proxy]:
    """The server at `host:port`, each byte `delay_s` later in each direction; bandwidth stays as it is."""
    proxy = Proxy()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        await _connection(proxy, reader, writer, host, port, delay_s)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)


@asynccontextmanager
async def store_further_away(s3_url: str, delay_s: float = 0.025) -> AsyncIterator[tuple[Proxy, str]]:
    """The same for the server of an S3 URL: the proxy, and the URL by way of it."""
    url = urlsplit(s3_url)
    credentials, _, upstream = url.netloc.rpartition("@")
    host, _, port = upstream.partition(":")
    async with further_away(host, int(port), delay_s) as proxy:
        yield proxy, url._replace(netloc=f"{credentials}@127.0.0.1:{proxy.port}").geturl()


async def _connection(
    proxy: Proxy,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    delay_s: float,
) -> None:
    """One client's connection, until either side ends it; its requests follow each other."""
    there, back = await asyncio.open_connection(host, port)
    present: list[tuple[str, str]] = []

    def sent(chunk: bytes) -> None:
        if match := _REQUEST.match(chunk):
            present[:] = [(match[1].decode(), match[2].decode().split("?X-Amz")[0])]
            proxy.began(*present[0])

    def received(_: bytes) -> None:
        for request in present:
            proxy.answered(request)
        present.clear()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_late(reader, back, delay_s, sent))
            group.create_task(_late(there, writer, delay_s, received))
    except* OSError:
        pass  # one side broke it off: so does the proxy
    finally:
        received(b"")
        back.close()
        writer.close()


async def _late(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float, seen: Callable[[bytes], None]
) -> None:
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)

    async def receive() -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            seen(chunk)
            await on_the_way.put((time.monotonic() + delay_s, chunk))
        await on_the_way.put((0.0, b""))

    async def send() -> None:
        while (item := await on_the_way.get())[1]:
            await asyncio.sleep(max(0.0, item[0] - time.monotonic()))
            target.write(item[1])
            await target.drain()
        target.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(receive())
        group.create_task(send())
