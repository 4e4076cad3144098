"""An extractor on real servers, and uploads to give it."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import _AsyncGeneratorContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from asyncpg.exceptions import InterfaceError, PostgresError

from libs.blobs import Blobs, Writer
from libs.blobs.outgoing import Buffer
from libs.contracts import (
    ArchiveExtracted,
    ArchiveRejected,
    Event,
    Format,
    Part,
    PartStream,
    StreamProgress,
    UploadOpened,
    UploadPartStored,
    UploadResumeRequested,
    new_id,
)
from libs.contracts.keys import objects_prefix, part_key
from libs.db import Pool
from libs.errors import Unavailable
from libs.outbox import CHANNEL
from libs.signals import Signals
from libs.tasks import end
from services.extractor.config import ExtractorConfig
from services.extractor.dependencies import Dependencies
from services.extractor.handlers import handlers
from services.extractor.progress import progress
from services.extractor.store.leases import CLAIMABLE
from services.extractor.worker import Worker
from tests.support import emitted
from tests.support.delivery import deliver

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROJECT = "proj_ABC123"
PATIENCE_S = 60.0

E = TypeVar("E", bound=Event)
T = TypeVar("T")
Compress = Callable[[bytes], bytes]


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of these files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


class CountingBlobs(Blobs):
    """Object storage that remembers the keys written and the bytes read."""

    def __init__(self, blobs: Blobs) -> None:
        self.__dict__.update(vars(blobs))
        self.written: list[str] = []
        self.bytes_read = 0

    async def put_bytes(self, key: str, content: Buffer) -> None:
        self.written.append(key)
        await super().put_bytes(key, content)

    def writer(self, key: str, size_bytes: int | None) -> _AsyncGeneratorContextManager[Writer]:
        self.written.append(key)
        return super().writer(key, size_bytes)

    async def read(self, key: str, start: int, length: int) -> bytes:
        content = await super().read(key, start, length)
        self.bytes_read += len(content)
        return content


@dataclass
class Extractor:
    """The extractor's clients, and what its neighbours do: deliver events, store parts, ask for results."""

    pool: Pool
    lease_pool: Pool
    signals: Signals
    blobs: Blobs
    config: ExtractorConfig = field(
        default_factory=lambda: ExtractorConfig(
            database_url="", nats_url="", s3_url="", lease_s=3, idle_s=60, poll_s=2, progress_every_s=0.01
        )
    )
    published: list[StreamProgress] = field(default_factory=list)  # the progress of all streams, in its order
    _heard: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def config_with(self, **changes: float) -> ExtractorConfig:
        """The same settings but for these."""
        return msgspec.structs.replace(self.config, **changes)

    def worker(self, config: ExtractorConfig | None = None, blobs: Blobs | None = None) -> Worker:
        """One process's worth of work."""
        return Worker(
            Dependencies(config or self.config, self.pool, self.lease_pool, blobs or self.blobs, self.signals)
        )

    @asynccontextmanager
    async def working(
        self, config: ExtractorConfig | None = None, blobs: Blobs | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A worker, until the block ends; then it is stopped, as by SIGTERM."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.worker(config, blobs).run(stop))
        listening = asyncio.create_task(self._listen())
        try:
            yield task
        finally:
            stop.set()
            await end(listening)
            if not task.cancelled():
                await task

    async def _listen(self) -> None:
        """Collect the progress that the process would publish."""
        while True:
            self.published += progress.changed()
            self._heard.set()
            await asyncio.sleep(0.01)

    async def until_progress(self, seen: Callable[[StreamProgress], bool]) -> StreamProgress:
        """The first progress that satisfies `seen`, as soon as it is published."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [each for each in self.published if seen(each)]):
                self._heard.clear()
                await self._heard.wait()
        return found[0]

    async def deliver(self, event: Event) -> bool:
        """Deliver an event, as the bus does; False if it had been applied before."""
        return await deliver(self.pool, handlers, event)

    async def emitted(self, kind: type[E]) -> list[E]:
        """What was emitted of this kind."""
        return [event for event in await emitted(self.pool) if isinstance(event, kind)]

    async def until(self, seen: Callable[[list[Event]], bool]) -> list[Event]:
        """Everything emitted, as soon as it satisfies `seen`."""
        async with asyncio.timeout(PATIENCE_S):
            with self.signals.subscribe(CHANNEL) as news:
                while not seen(events := await emitted(self.pool)):
                    await news.wait(1)
        return events

    async def until_idle(self) -> None:
        """Return when no extraction holds a lease."""
        await self._until("SELECT NOT EXISTS (SELECT FROM extraction WHERE leased_by IS NOT NULL)")

    async def until_gave_way(self, *, claims: int = 1) -> None:
        """Return when the one stream has been claimed so often, and waits for more parts than it has."""
        await self.until_row(f"fence >= {claims} AND leased_by IS NULL AND wanted_parts > ready_parts")

    async def until_put_off(self) -> None:
        """Return when an attempt at the one stream has failed."""
        await self.until_row("fence > 0 AND leased_by IS NULL AND attempts > 0")

    async def until_files(self, count: int) -> None:
        """Return when so many files are recorded as stored."""
        await self._until(f"SELECT count(*) >= {count} FROM extraction_file")

    async def until_row(self, condition: str) -> None:
        """Return when there is such an extraction."""
        await self._until(f"SELECT EXISTS (SELECT FROM extraction WHERE {condition})")

    async def _until(self, question: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            with self.signals.subscribe(CLAIMABLE) as claimable:
                while not await self.pool.fetchval(question):
                    await claimable.wait(0.05)

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, once nothing is unavailable any more."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await work()
                except (Unavailable, OSError, PostgresError, InterfaceError):
                    await asyncio.sleep(0.1)

    async def result(self, stream_id: str) -> ArchiveExtracted | ArchiveRejected:
        """How the stream ended, once it has."""

        def ends(event: Event) -> bool:
            return isinstance(event, ArchiveExtracted | ArchiveRejected) and event.stream_id == stream_id

        events = await self.until(lambda events: any(map(ends, events)))
        result = next(filter(ends, events))
        assert isinstance(result, ArchiveExtracted | ArchiveRejected)
        return result

    async def contents(self, extracted: ArchiveExtracted) -> dict[str, bytes]:
        """The bytes in storage behind each path."""
        return {file.path: await self.blobs.read(file.key, 0, file.size_bytes) for file in extracted.files}

    async def objects(self, upload: Upload) -> list[str]:
        """The keys of every file of the upload in storage."""
        prefix = objects_prefix(PROJECT, upload.stream.upload_id)
        return [found.key async for found in self.blobs.list(prefix)]

    def upload(
        self,
        content: bytes,
        *,
        format: Format = "tar",  # noqa: A002  # the field's name
        part_bytes: int = 64 * 1024,
        path: str | None = None,
        sha256: str | None = None,
        number: int = 0,
        key: str | None = None,
        project_id: str = PROJECT,
    ) -> Upload:
        """An upload of `content` in parts of which none is stored yet."""
        pieces = [content[at : at + part_bytes] for at in range(0, len(content), part_bytes)]
        upload_id = new_id()
        stream = PartStream(
            id=f"{upload_id}-{number}",
            upload_id=upload_id,
            project_id=project_id,
            model_id=new_id(),
            number=number,
            format=format,
            size_bytes=len(content),
            total_parts=len(pieces),
            path=path,
            sha256=sha256,
            key=key,
        )
        parts = [Part(number, "a", len(piece)) for number, piece in enumerate(pieces)]
        return Upload(self, stream, pieces, parts)


@dataclass
class Upload:
    """One stream, from the gateway's side."""

    extractor: Extractor
    stream: PartStream
    pieces: list[bytes]
    parts: list[Part]

    async def store(self, *numbers: int) -> None:
        """Put parts into storage, without an event."""
        for number in numbers:
            await self.extractor.blobs.put_bytes(self._key(number), self.pieces[number])

    async def lose(self, *numbers: int) -> None:
        """Remove stored parts."""
        await self.extractor.blobs.delete([self._key(number) for number in numbers])

    async def open(self, *numbers: int) -> UploadOpened:
        """Deliver the stream with these parts. Returns the event, which may be delivered again."""
        event = UploadOpened(stream=self.stream, parts=[self.parts[number] for number in numbers], at=NOON)
        await self.extractor.deliver(event)
        return event

    async def report_part(self, number: int) -> UploadPartStored:
        """Deliver one more part. Returns the event, which may be delivered again."""
        event = UploadPartStored(
            upload_id=self.stream.upload_id, stream_id=self.stream.id, part=self.parts[number], at=NOON
        )
        await self.extractor.deliver(event)
        return event

    async def resume(self) -> UploadResumeRequested:
        """Deliver an operator's request for another try. Returns the event, which may be delivered again."""
        event = UploadResumeRequested(upload_id=self.stream.upload_id, stream_ids=[self.stream.id], at=NOON)
        await self.extractor.deliver(event)
        return event

    async def send(self, numbers: Iterable[int] | None = None) -> None:
        """Store these parts (or all) and deliver each, in this order."""
        for number in range(len(self.pieces)) if numbers is None else numbers:
            await self.store(number)
            await self.report_part(number)

    async def result(self) -> ArchiveExtracted | ArchiveRejected:
        """How the stream ended, once it has."""
        return await self.extractor.result(self.stream.id)

    async def extracted(self) -> ArchiveExtracted:
        """The files, once they are there."""
        result = await self.result()
        assert isinstance(result, ArchiveExtracted), result
        return result

    async def rejected(self) -> ArchiveRejected:
        """The refusal, once it is there."""
        result = await self.result()
        assert isinstance(result, ArchiveRejected), result
        return result

    def resize(self) -> None:
        """Let the stream be what `parts` make of it."""
        size_bytes = sum(part.size_bytes for part in self.parts)
        self.stream = msgspec.structs.replace(self.stream, size_bytes=size_bytes, total_parts=len(self.parts))

    def _key(self, number: int) -> str:
        stream = self.stream
        if stream.key is not None:
            return stream.key
        return part_key(stream.project_id, stream.upload_id, stream.number, number, self.parts[number].attempt)
