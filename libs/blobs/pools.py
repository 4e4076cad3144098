"""Connections to the object store, in separate pools.

A slow reader holds the connection that its bytes come by, a slow sender the one that they leave by; neither must keep
the others from theirs, nor the small requests, on which everything waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from libs.admission import Slots

CONNECT_S = 5.0
BODY_WAIT_S = 5.0  # for a free connection; then Overloaded
CALL_WAIT_S = 30.0  # the same for small requests, which do not wait for slow clients
READ_BYTES = 64 * 1024  # buffer of a body that is read slowly; up to twice that and one read are held


@dataclass(frozen=True)
class Sizes:
    """The largest numbers of connections."""

    uploads: int = 128  # for bodies to the store
    downloads: int = 128  # for bodies from the store
    calls: int = 64  # for small requests and answers


class Pool:
    """Connections for one kind of request. They are kept open, except for requests that need a new one."""

    def __init__(self, slots: Slots, kept: aiohttp.ClientSession, new: aiohttp.ClientSession) -> None:
        self._slots = slots
        self._kept = kept
        self._new = new

    @classmethod
    @asynccontextmanager
    async def open(cls, size: int, *, wait_s: float, stall_s: float) -> AsyncIterator[Pool]:
        """`size`: connections; `wait_s`: for a free one; `stall_s`: without progress, until a transfer is given up."""
        async with AsyncExitStack() as stack:
            kept, new = [
                await stack.enter_async_context(
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(limit=0, force_close=force_close),
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=stall_s),
                        headers={"Accept-Encoding": "identity"},
                        auto_decompress=False,
                        read_bufsize=READ_BYTES,
                    )
                )
                for force_close in (False, True)
            ]
            yield cls(Slots(size, wait_s=wait_s), kept, new)

    @property
    def taken(self) -> int:
        """Connections in use."""
        return self._slots.taken

    @asynccontextmanager
    async def connection(self, *, new: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
        """Reserve a connection within the block, for one request by this session.

        `new`: not on an idle connection, which the server may just be closing; for what cannot be repeated.
        Raises: Overloaded.
        """
        async with self._slots.take():
            yield self._new if new else self._kept


@dataclass(frozen=True)
class Pools:
    """The three pools."""

    uploads: Pool
    downloads: Pool
    calls: Pool

    @classmethod
    @asynccontextmanager
    async def open(cls, sizes: Sizes, *, stall_s: float) -> AsyncIterator[Pools]:
        """Open the pools; connections are made when they are needed."""
        async with (
            Pool.open(sizes.uploads, wait_s=BODY_WAIT_S, stall_s=stall_s) as uploads,
            Pool.open(sizes.downloads, wait_s=BODY_WAIT_S, stall_s=stall_s) as downloads,
            Pool.open(sizes.calls, wait_s=CALL_WAIT_S, stall_s=stall_s) as calls,
        ):
            yield cls(uploads, downloads, calls)
