"""One try at one stream, and what follows from its outcome.

everything stored        -> extracted, ArchiveExtracted
BadArchive               -> rejected, ArchiveRejected, at the first bad byte: the content's own fault
GaveWay                  -> its place goes to others until twice the parts are there
SourceClosed             -> parked at once: only a repair helps
any other error          -> again after a pause; from `max_attempts` on without a further file: parked, ArchiveParked
killed                   -> taken over when its lease has expired; counts as such an error
cancelled                -> the process ends: again at once, in another one; or the lease is lost: nothing

Each stored file is recorded at once, so that the next attempt goes on after it. While Postgres is away everything
waits, and nothing fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from libs import telemetry
from libs.archives.errors import BadArchive, refusal
from libs.archives.paths import displayable
from libs.archives.unpack import Unpacker, join_parts, resume_tar, unpack_archive
from libs.contracts import ArchiveExtracted, ArchiveParked, ArchiveRejected, StoredFile, StreamProgress
from libs.contracts.keys import member_key
from libs.contracts.rules import FILE_CHECKSUM
from libs.db import Tx, connection, transaction
from libs.errors import Invalid, ObjectNotFound, SlipwayError, Unavailable
from libs.leases import Lease, LeaseLost
from libs.outbox import emit
from libs.signals import notify
from libs.tasks import end
from services.extractor import metrics
from services.extractor.dependencies import Dependencies
from services.extractor.layout import common_folder
from services.extractor.parts import GaveWay, Parts
from services.extractor.progress import progress
from services.extractor.remote import RemoteFile, SourceClosed
from services.extractor.store import files, leases, streams
from services.extractor.store.leases import CLAIMABLE, Claim
from services.extractor.unpacking import Unpacking

ONE_FILE = ("raw", "object", "remote", "staged")  # formats of streams that are no archives
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # between attempts
FIRST_PARKED_S, LONGEST_PARKED_S = 60.0, 4 * 3600.0  # between attempts of what is parked
LOOK_AGAIN_S = 0.5
HAND_OVER_S = 2.0  # a process that is stopped is killed soon after

T = TypeVar("T")

log = logging.getLogger(__name__)


class Attempt:
    """One try at one stream, under a lease. Its `run` raises nothing but its own cancellation."""

    def __init__(
        self, lease: Lease[Claim], dependencies: Dependencies, *, owner: str, threads: ThreadPoolExecutor
    ) -> None:
        """`owner`: the process as holder of leases; `threads`: for decompression and hashing."""
        self._lease = lease
        self._config = dependencies.config
        self._pool = dependencies.pool
        self._blobs = dependencies.blobs
        self._threads = threads
        self._claim = lease.claim
        self._stream = lease.claim.stream
        self._attempts = lease.claim.attempts
        self._unpacking: Unpacking | None = None
        self._recorded = 0  # files
        self.parts = self._parts(dependencies, owner)

    def _parts(self, dependencies: Dependencies, owner: str) -> Parts | RemoteFile:
        """Where the bytes of the stream come from."""
        if self._stream.remote is not None:
            return RemoteFile(self._stream, self._stream.remote, dependencies.config)
        return Parts(
            self._stream,
            owner=owner,
            pool=dependencies.pool,
            blobs=dependencies.blobs,
            signals=dependencies.signals,
            config=dependencies.config,
        )

    async def run(self) -> None:
        """Try, and record the outcome."""
        claim = self._claim
        with (
            telemetry.bind(request_id=claim.request_id, traceparent=claim.traceparent),
            progress.attempt(claim.key, self._progress),
        ):
            log.info("extraction begins", extra={"stream_id": claim.key, "fence": claim.fence})
            try:
                await self._try_and_record()
            except asyncio.CancelledError:
                if not self._lease.lost:
                    await self._hand_over()
                raise
            except LeaseLost:
                metrics.attempts.labels("lost").inc()
                log.warning("extraction lost its lease", extra={"stream_id": claim.key})

    def _progress(self) -> StreamProgress:
        unpacking = self._unpacking
        return StreamProgress(
            **self._ids(),
            parts_known=self.parts.known,
            parts_done=self.parts.done,
            members=len(unpacking.files) if unpacking else 0,
            bytes_out=unpacking.bytes_out if unpacking else 0,
        )

    async def _try_and_record(self) -> None:
        try:
            await self._try()
        except GaveWay:
            log.info("extraction gives way", extra={"stream_id": self._claim.key, "parts_done": self.parts.done})
            await self._record("gave_way", self._give_way)
        except BadArchive as bad:
            found = bad.finding
            await self._finish(ArchiveRejected(**self._ids(), finding=found, at=datetime.now(UTC)))
        except (LeaseLost, asyncio.CancelledError):
            raise
        except (Unavailable, ObjectNotFound) as error:  # parts go with an upload that was just aborted
            reason = self._reason(error)
            log.warning("extraction is put off: %s", reason, extra={"stream_id": self._claim.key})
            await self._put_off(reason)
        except SourceClosed as closed:
            log.warning("extraction waits: %s", closed, extra={"stream_id": self._claim.key})
            await self._put_off(self._reason(closed), park=True)
        except Exception as error:  # the edge of an attempt: whatever it is, the stream is tried again
            log.exception("extraction failed", extra={"stream_id": self._claim.key, "fence": self._claim.fence})
            await self._put_off(self._reason(error))

    async def _try(self) -> None:
        if self._claim.taken_over and self._claim.attempts > self._config.max_attempts:
            raise ProcessDied(f"the extractor did not survive unpacking it ({self._claim.attempts - 1} times in a row)")
        if self._stream.format == "staged":
            await self._copy()
        stored = await self._stored_before()
        checkpoint = self._claim.checkpoint if self._can_skip() else None
        self._recorded = len(stored)
        self._unpacking = Unpacking(
            self._claim,
            self._unpacker(stored),
            stored=stored,
            passed=checkpoint.files if checkpoint else 0,
            blobs=self._blobs,
            threads=self._threads,
        )
        start = checkpoint.next_at if checkpoint else 0
        recording = asyncio.create_task(self._record_files(self._unpacking))
        working = asyncio.create_task(self._unpacking.run(self.parts.chunks(start), self._lease.held))
        try:
            await asyncio.wait((recording, working), return_when=asyncio.FIRST_COMPLETED)
            if recording.done():
                recording.result()  # raises
            working.result()
        finally:
            await end(recording, working)
        metrics.unpacked_bytes.inc(self._unpacking.bytes_out)
        dropped = [*(checkpoint.dropped if checkpoint else ()), *self._unpacking.dropped]
        await self._finish(self._extracted(self._unpacking.files, dropped))

    async def _copy(self) -> None:
        """Have storage copy the file to a key that no client can write to, and go on with the copy alone.

        The copy is what is hashed, and what is kept. Its key has the fence: an attempt that has lost its lease writes
        to another one.
        Raises: BadArchive, if what is there is not of the size that was announced; ObjectNotFound; Unavailable.
        """
        stream = self._stream
        which = stream.id.removeprefix(f"{stream.upload_id}-")
        key = member_key(stream.project_id, stream.upload_id, which, self._claim.fence, 0)
        try:
            await self._blobs.copy(stream.key or "", key, stream.size_bytes)
        except Invalid as error:
            raise refusal("file-size", error.message, "Send the file again.", file=stream.path) from None
        self._stream = msgspec.structs.replace(stream, key=key)
        self._claim = msgspec.structs.replace(self._claim, stream=self._stream)
        if isinstance(self.parts, Parts):
            self.parts.read_from(key)

    # Going on where an earlier attempt was

    async def _stored_before(self) -> list[StoredFile]:
        if self._claim.fence == 1:
            return []

        async def read() -> list[StoredFile]:
            async with connection(self._pool) as tx:
                return await files.stored_files(tx, self._claim.key)

        return await self._once_there(read)

    def _can_skip(self) -> bool:
        """Whether reading may start at the checkpoint: not if a digest of the whole archive was declared."""
        return self._stream.format == "tar" and self._stream.sha256 is None

    def _unpacker(self, stored: list[StoredFile]) -> Unpacker:
        stream, limits = self._stream, self._config.archive_limits()
        if stream.format in ONE_FILE:
            return join_parts(stream.path or "", stream.size_bytes)
        if self._claim.checkpoint is not None and self._can_skip():
            paths = [file.path for file in stored]
            return resume_tar(limits, self._claim.checkpoint, paths, size_bytes=stream.size_bytes)
        return unpack_archive(stream.format, limits, size_bytes=stream.size_bytes, sha256=stream.sha256)

    async def _record_files(self, unpacking: Unpacking) -> None:
        """Record files as they are stored; one statement records those that were stored during the last one."""
        while True:
            await unpacking.grown.wait()
            unpacking.grown.clear()
            await self._once_there(self._add_files)

    async def _add_files(self) -> None:
        new = self._unpacking.files[self._recorded :] if self._unpacking else []
        if self._unpacking is None or not new or self._stream.format in ONE_FILE:
            return
        checkpoint = self._unpacking.checkpoint() if self._can_skip() else None
        async with connection(self._pool) as tx:
            if not await files.add_files(tx, self._claim, self._recorded, new, checkpoint):
                raise LeaseLost
        self._recorded += len(new)
        self._attempts = 1

    # How it ends

    def _extracted(self, files: list[StoredFile], dropped: list[str]) -> ArchiveExtracted:
        prefix = None
        if self._stream.format in ONE_FILE:
            _verify(files[0], self._stream.sha256)
        elif prefix := common_folder([file.path for file in files]):
            files = [msgspec.structs.replace(file, path=file.path[len(prefix) + 1 :]) for file in files]
        return ArchiveExtracted(
            **self._ids(),
            files=files,
            stripped_prefix=prefix,
            dropped=dropped,
            bytes_in=self._stream.size_bytes,
            at=datetime.now(UTC),
        )

    def _ids(self) -> dict[str, str]:
        return {"upload_id": self._stream.upload_id, "stream_id": self._stream.id}

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ObjectNotFound):
            return f"part {self.parts.done} is not in storage"
        return displayable(str(error) if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}")

    async def _finish(self, result: leases.Result) -> None:
        async def finish(tx: Tx) -> None:
            if not await leases.finish(tx, self._claim, result):
                raise LeaseLost
            await files.delete_of(tx, self._claim.key)
            await emit(tx, [result])

        await self._record("extracted" if isinstance(result, ArchiveExtracted) else "rejected", finish)

    async def _give_way(self, tx: Tx) -> None:
        await streams.recount(tx, self._claim.key)  # the previous release adds parts without counting them in `landed`
        await leases.give_way(tx, self._claim)

    async def _put_off(self, reason: str, *, park: bool = False) -> None:
        """Give the lease back for a pause, or park the extraction. Keeps every part and file.

        park: whether to park it before all attempts were in vain.
        """
        await self._once_there(self._add_files)
        beyond = self._attempts - (1 if park else self._config.max_attempts)
        if beyond < 0:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._attempts - 1, 10))
            await self._record("put_off", lambda tx: leases.postpone(tx, self._claim, pause_s))
            return
        parked_s = min(LONGEST_PARKED_S, FIRST_PARKED_S * 2 ** min(beyond, 10))

        async def park_it(tx: Tx) -> None:
            if not await leases.park(tx, self._claim, parked_s):
                raise LeaseLost
            now = datetime.now(UTC)
            retry_at = now + timedelta(seconds=parked_s)
            await emit(tx, [ArchiveParked(**self._ids(), reason=reason, retry_at=retry_at, at=now)])

        await self._record("parked", park_it)

    async def _record(self, outcome: str, change: Callable[[Tx], Awaitable[None]]) -> None:
        """Make the change that ends the attempt, in one transaction."""

        async def record() -> None:
            async with transaction(self._pool) as tx:
                await change(tx)

        await self._once_there(record)
        metrics.attempts.labels(outcome).inc()
        log.info("extraction attempt ended", extra={"stream_id": self._claim.key, "outcome": outcome})

    async def _once_there(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work()` under the lease, repeatedly while Postgres is away. Raises: LeaseLost."""
        while True:
            await self._lease.held()
            try:
                return await work()
            except Unavailable as unavailable:
                log.warning("waiting for Postgres: %s", unavailable, extra={"stream_id": self._claim.key})
                await asyncio.sleep(LOOK_AGAIN_S)  # nothing signals that it is back

    async def _hand_over(self) -> None:
        """Let another process go on at once; if Postgres is away, the lease expires by itself."""
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._add_files()
                async with transaction(self._pool) as tx:
                    await leases.release(tx, self._claim)
                    await notify(tx, CLAIMABLE, self._claim.key)
        except (LeaseLost, Unavailable, TimeoutError) as error:
            log.warning("cannot give the lease back: %s", error or type(error).__name__)


class ProcessDied(SlipwayError):
    """The extractor died while it unpacked this stream."""


def _verify(file: StoredFile, declared_sha256: str | None) -> None:
    """Raises: BadArchive if the file is not what was declared."""
    if declared_sha256 not in (None, file.sha256):
        found = f"its SHA-256 is {file.sha256}, not {declared_sha256} as declared."
        raise refusal(FILE_CHECKSUM, found, "Send the file again.", file=file.path)
