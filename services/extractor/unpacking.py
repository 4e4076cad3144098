"""From the bytes of a stream to stored files: decompression and hashing in threads, writing beside them.

    parts ──chunks──▶ unpack (thread) ──events──▶ hash (thread) ──▶ write
                               at most two steps ahead

Every arrow waits for its reader, so the memory is bounded: some steps of 2 MiB, and what a writer holds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from libs.archives.errors import BadArchive
from libs.archives.tar import Content, MemberDropped, MemberEnded, MemberEvent, MemberStarted, TarCheckpoint
from libs.archives.unpack import Unpacker
from libs.blobs import Blobs
from libs.contracts import StoredFile
from libs.contracts.keys import member_key
from services.extractor.store.leases import Claim

STEPS_AHEAD = 2
SMALL_BYTES = 1024 * 1024  # files up to this size are held whole and written beside the next ones
SMALL_AT_ONCE = 8

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hashed:
    """The file is complete, and this is its digest; see `MemberEnded` for the checkpoint."""

    sha256: str
    checkpoint: Callable[[], TarCheckpoint] | None


HashedEvent = MemberStarted | Content | Hashed | MemberDropped


class Hashing:
    """Replaces the end of each file by its digest; leaves out the first files, which are stored."""

    def __init__(self, leave_out: int) -> None:
        """`leave_out`: the number of files to leave out."""
        self._leave_out = leave_out
        self._digest = hashlib.sha256()

    def add(self, events: list[MemberEvent]) -> list[HashedEvent]:
        """Hash the content of events. Returns them, without those of files that are left out."""
        hashed: list[HashedEvent] = []
        for event in events:
            if isinstance(event, MemberDropped):
                hashed.append(event)
            elif self._leave_out:
                self._leave_out -= isinstance(event, MemberEnded)
            elif isinstance(event, MemberEnded):
                hashed.append(Hashed(self._digest.hexdigest(), event.checkpoint))
                self._digest = hashlib.sha256()
            else:
                if isinstance(event, Content):
                    self._digest.update(event.view)
                hashed.append(event)
        return hashed


class Unpacking:
    """One pass over one stream."""

    def __init__(
        self,
        claim: Claim,
        unpacker: Unpacker,
        *,
        stored: Sequence[StoredFile],
        passed: int,
        blobs: Blobs,
        threads: ThreadPoolExecutor,
    ) -> None:
        """`stored`: the first files, of earlier attempts; the unpacker starts after the first `passed` of them."""
        self._stream = claim.stream
        self._fence = claim.fence
        self._unpacker = unpacker
        self._blobs = blobs
        self._threads = threads
        self._hashing = Hashing(len(stored) - passed)
        self._small_slots = asyncio.Semaphore(SMALL_AT_ONCE)
        self._begun = len(stored)  # files
        self._out_of_order: dict[int, tuple[StoredFile, Hashed]] = {}  # stored before a file that precedes them
        self._last: Hashed | None = None
        self.files = list(stored)  # in the archive's order: those in storage, up to the first that is not
        self.grown = asyncio.Event()  # set when `files` has grown
        self.dropped: list[str] = []
        self.bytes_out = sum(file.size_bytes for file in stored)

    def checkpoint(self) -> TarCheckpoint | None:
        """Where another attempt can go on after the last of `files`; None if it has to begin again."""
        return self._last.checkpoint() if self._last and self._last.checkpoint else None

    async def run(self, chunks: AsyncGenerator[bytes, None], held: Callable[[], Awaitable[None]]) -> None:
        """Unpack everything. `held` is awaited after each step, and may pause or, by raising, end the work.

        Raises: BadArchive; Unavailable; whatever `chunks` or `held` raise.
        """
        steps: asyncio.Queue[list[MemberEvent] | None] = asyncio.Queue(STEPS_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._unpack(chunks, steps))
                group.create_task(self._store(self._hashed(steps, held), group))
        except ExceptionGroup as failed:
            refused = (error for error in failed.exceptions if isinstance(error, BadArchive))
            raise next(refused, failed.exceptions[0]) from None

    async def _unpack(
        self, chunks: AsyncGenerator[bytes, None], steps: asyncio.Queue[list[MemberEvent] | None]
    ) -> None:
        unpacker = self._unpacker
        async with aclosing(chunks):
            async for chunk in chunks:
                await self._in_thread(unpacker.feed, chunk)
                while not unpacker.needs_input:
                    await steps.put(await self._in_thread(unpacker.step))
        await steps.put(unpacker.close())
        await steps.put(None)

    async def _hashed(
        self, steps: asyncio.Queue[list[MemberEvent] | None], held: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[HashedEvent, None]:
        """Yield the events one by one, with their content hashed."""
        while (events := await steps.get()) is not None:
            for event in await self._in_thread(self._hashing.add, events):
                yield event
            await held()

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
        """Take over the stream's own object, which needed only to be hashed."""

        async def pass_by(_: memoryview) -> None: ...

        number = self._next_number()
        self._stored(number, file, key, await self._pass_on(events, pass_by))

    async def _store_large(self, file: MemberStarted, events: AsyncGenerator[HashedEvent, None]) -> None:
        number = self._next_number()
        key = self._key(number)
        async with self._blobs.writer(key, file.size_bytes) as writer:
            hashed = await self._pass_on(events, writer.write)
        self._stored(number, file, key, hashed)

    async def _store_small(
        self, file: MemberStarted, events: AsyncGenerator[HashedEvent, None], group: asyncio.TaskGroup
    ) -> None:
        """Hold the file in memory, and write it while the next files are unpacked."""
        number = self._next_number()
        content = bytearray()

        async def hold(view: memoryview) -> None:
            content.extend(view)

        hashed = await self._pass_on(events, hold)
        await self._small_slots.acquire()
        group.create_task(self._put(number, file, content, hashed))

    async def _put(self, number: int, file: MemberStarted, content: bytearray, hashed: Hashed) -> None:
        key = self._key(number)
        try:
            await self._blobs.put_bytes(key, content)
        finally:
            self._small_slots.release()
        self._stored(number, file, key, hashed)

    async def _pass_on(
        self, events: AsyncGenerator[HashedEvent, None], write: Callable[[memoryview], Awaitable[None]]
    ) -> Hashed:
        """Call `write` with the content of the present file. Returns its digest."""
        async for event in events:
            if isinstance(event, Hashed):
                return event
            if isinstance(event, Content):
                await write(event.view)
                self.bytes_out += len(event.view)
        raise AssertionError("a file that starts also ends, or an error is raised")

    def _stored(self, number: int, file: MemberStarted, key: str, hashed: Hashed) -> None:
        """Note that a file is in storage; it is listed in `files` once all before it are."""
        stored = StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=hashed.sha256, key=key)
        self._out_of_order[number] = stored, hashed
        while (next_ := self._out_of_order.pop(len(self.files), None)) is not None:
            stored, self._last = next_
            self.files.append(stored)
            self.grown.set()

    def _next_number(self) -> int:
        self._begun += 1
        return self._begun - 1

    def _key(self, number: int) -> str:
        """The key of a file. It has the fence: an attempt that has lost its lease overwrites nothing of the next."""
        stream = self._stream
        which = stream.id.removeprefix(f"{stream.upload_id}-")  # fences of a repeated stream begin again
        return member_key(stream.project_id, stream.upload_id, which, self._fence, number)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))
