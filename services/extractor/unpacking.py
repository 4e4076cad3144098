"""From the bytes of a stream to stored files: decompression and hashing in threads, writing beside them.

    parts ──chunks──▶ unpack (thread) ──events──▶ hash (thread) ──▶ write
                               at most two steps ahead

Every arrow waits for its reader, so the memory is bounded: some steps of 2 MiB, and what a writer holds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from libs.blobs import Blobs
from libs.contracts import StoredFile
from libs.contracts.keys import member_key
from libs.modelfiles.archive import BadArchive
from libs.modelfiles.tar import Content, MemberDropped, MemberEnded, MemberEvent, MemberStarted
from libs.modelfiles.unpack import Unpacker
from services.extractor.store import Claim

STEPS_AHEAD = 2
SMALL_BYTES = 1024 * 1024  # files up to this size are held whole and written beside the next ones
SMALL_AT_ONCE = 8

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hashed:
    """The file is complete, and this is its digest."""

    sha256: str


HashedEvent = MemberStarted | Content | Hashed | MemberDropped


class Hashing:
    """Replaces the end of each file by its digest."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, events: list[MemberEvent]) -> list[HashedEvent]:
        """The same events, once their content is hashed."""
        hashed: list[HashedEvent] = []
        for event in events:
            if isinstance(event, MemberEnded):
                hashed.append(Hashed(self._digest.hexdigest()))
                self._digest = hashlib.sha256()
                continue
            if isinstance(event, Content):
                self._digest.update(event.view)
            hashed.append(event)
        return hashed


class Unpacking:
    """One pass over one stream."""

    def __init__(self, claim: Claim, unpacker: Unpacker, *, blobs: Blobs, threads: ThreadPoolExecutor) -> None:
        self._stream = claim.stream
        self._fence = claim.fence
        self._unpacker = unpacker
        self._blobs = blobs
        self._threads = threads
        self._small_slots = asyncio.Semaphore(SMALL_AT_ONCE)
        self.files: list[StoredFile] = []  # complete, though the small ones perhaps still on their way
        self.dropped: list[str] = []
        self.bytes_in = 0
        self.bytes_out = 0

    async def run(self, chunks: AsyncGenerator[bytes, None], check: Callable[[], None]) -> None:
        """Unpack everything; `check` is called after each step, and ends it by raising.

        Raises: BadArchive; Unavailable; whatever `chunks` or `check` raise.
        """
        steps: asyncio.Queue[list[MemberEvent] | None] = asyncio.Queue(STEPS_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._unpack(chunks, steps))
                group.create_task(self._store(self._hashed(steps, check), group))
        except ExceptionGroup as failed:
            refused = (error for error in failed.exceptions if isinstance(error, BadArchive))
            raise next(refused, failed.exceptions[0]) from None

    async def _unpack(
        self, chunks: AsyncGenerator[bytes, None], steps: asyncio.Queue[list[MemberEvent] | None]
    ) -> None:
        unpacker = self._unpacker
        async with aclosing(chunks):
            async for chunk in chunks:
                self.bytes_in += len(chunk)
                await self._in_thread(unpacker.feed, chunk)
                while not unpacker.hungry:
                    await steps.put(await self._in_thread(unpacker.step))
        await steps.put(unpacker.close())
        await steps.put(None)

    async def _hashed(
        self, steps: asyncio.Queue[list[MemberEvent] | None], check: Callable[[], None]
    ) -> AsyncGenerator[HashedEvent, None]:
        """The events one by one, each once its content is hashed."""
        hashing = Hashing()
        while (events := await steps.get()) is not None:
            for event in await self._in_thread(hashing.add, events):
                yield event
            check()

    async def _store(self, events: AsyncGenerator[HashedEvent, None], group: asyncio.TaskGroup) -> None:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, MemberDropped):
                    self.dropped.append(event.path)
                elif isinstance(event, MemberStarted) and self._stream.key is not None:
                    await self._keep(event, events, self._stream.key)
                elif isinstance(event, MemberStarted) and event.size_bytes <= SMALL_BYTES:
                    await self._store_small(event, events, group)
                elif isinstance(event, MemberStarted):
                    await self._store_large(event, events)

    async def _keep(self, file: MemberStarted, events: AsyncGenerator[HashedEvent, None], key: str) -> None:
        """The stream is an object already: it was only to be hashed."""

        async def pass_by(_: memoryview) -> None: ...

        sha256 = await self._pass_on(events, pass_by)
        self.files.append(StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=sha256, key=key))

    async def _store_large(self, file: MemberStarted, events: AsyncGenerator[HashedEvent, None]) -> None:
        key = self._next_key()
        async with self._blobs.writer(key, file.size_bytes) as writer:
            sha256 = await self._pass_on(events, writer.write)
        self.files.append(StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=sha256, key=key))

    async def _store_small(
        self, file: MemberStarted, events: AsyncGenerator[HashedEvent, None], group: asyncio.TaskGroup
    ) -> None:
        """Hold the file, and write it while the next ones are being unpacked."""
        key = self._next_key()
        content = bytearray()

        async def hold(view: memoryview) -> None:
            content.extend(view)

        sha256 = await self._pass_on(events, hold)
        await self._small_slots.acquire()
        group.create_task(self._put(key, content))
        self.files.append(StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=sha256, key=key))

    async def _put(self, key: str, content: bytearray) -> None:
        try:
            await self._blobs.put_bytes(key, content)
        finally:
            self._small_slots.release()

    async def _pass_on(
        self, events: AsyncGenerator[HashedEvent, None], write: Callable[[memoryview], Awaitable[None]]
    ) -> str:
        """Give the content of the present file to `write`; its digest."""
        async for event in events:
            if isinstance(event, Hashed):
                return event.sha256
            if isinstance(event, Content):
                await write(event.view)
                self.bytes_out += len(event.view)
        raise AssertionError("a file that starts also ends, or an error is raised")

    def _next_key(self) -> str:
        """It carries the fence, so that an attempt that has lost its lease overwrites nothing of the next one's."""
        stream = self._stream
        return member_key(stream.project_id, stream.upload_id, stream.number, self._fence, len(self.files))

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))
