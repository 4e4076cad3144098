"""One try at one stream, and what follows from how it ends.

everything stored     -> extracted, ArchiveExtracted
BadArchive            -> rejected, ArchiveRejected, at the first bad byte
Parked                -> the place is given to others until twice the parts are there
Unavailable           -> again after a while, as often as it takes
anything else         -> again after a while; after `max_attempts` rejected, with the reason
killed                -> again when its lease has run out; after `max_deaths` in a row rejected
cancelled             -> the process ends: again at once, elsewhere; or the lease is lost: nothing
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec

from libs import telemetry
from libs.blobs import Blobs
from libs.contracts import ArchiveExtracted, ArchiveProgressed, ArchiveRejected, Finding, PartStream, StoredFile
from libs.db import Pool, Tx, transaction
from libs.errors import ObjectNotFound, Unavailable
from libs.modelfiles.archive import BadArchive, refusal
from libs.modelfiles.paths import shown
from libs.modelfiles.unpack import Unpacker, join_parts, unpack_archive
from libs.outbox import emit
from libs.signals import Signals, notify
from services.extractor import metrics, store
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import NEWS
from services.extractor.layout import common_folder
from services.extractor.leases import Lease, LeaseLost
from services.extractor.parts import Parked, Parts
from services.extractor.unpacking import Unpacking

ONE_FILE = ("raw", "object")  # formats of streams that are no archives
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
FINISH_AGAIN_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    """What attempts work with."""

    config: ExtractorConfig
    pool: Pool
    blobs: Blobs
    signals: Signals
    threads: ThreadPoolExecutor


class Attempt:
    """Works under one lease; raises nothing but its own cancellation."""

    def __init__(self, lease: Lease, tools: Tools) -> None:
        self._lease = lease
        self._claim = lease.claim
        self._stream = lease.claim.stream
        self._tools = tools
        self._told = (0, 0, 0)  # the progress that was last told: parts done, files, bytes out
        self.parts = Parts(self._stream, pool=tools.pool, blobs=tools.blobs, signals=tools.signals, config=tools.config)
        self._unpacking = Unpacking(
            self._claim, _unpacker(self._stream, tools.config), blobs=tools.blobs, threads=tools.threads
        )

    async def run(self) -> None:
        """Try, and record how it went; whoever claims the stream next starts again from its first part."""
        claim = self._claim
        with telemetry.bind(request_id=claim.request_id, traceparent=claim.traceparent):
            log.info("extraction begins", extra={"stream_id": claim.id, "claim": claim.fence})
            try:
                await self._try()
            except asyncio.CancelledError:
                if not self._lease.lost:
                    await self._give_back(lambda tx: store.release(tx, claim))
                raise
            except LeaseLost:
                self._lost()
            except Parked:
                log.info("extraction is parked", extra={"stream_id": claim.id, "parts_done": self.parts.done})
                metrics.attempts.labels("parked").inc()
                await self._give_back(lambda tx: store.park(tx, claim))
            except BadArchive as bad:
                await self._reject(bad.finding)
            except Unavailable as trouble:
                log.warning("extraction is put off: %s", trouble, extra={"stream_id": claim.id})
                await self._postpone(failed=False)
            except Exception as error:  # the edge of an attempt: whatever it is, the stream must end or be tried again
                log.exception("extraction failed", extra={"stream_id": claim.id, "claim": claim.fence})
                await self._fail(error)

    async def _try(self) -> None:
        if self._claim.deaths >= self._tools.config.max_deaths:
            raise _died(self._claim.deaths)
        async with self._telling():
            await self._unpacking.run(self.parts.chunks(), self._lease.check)
        metrics.unpacked_bytes.inc(self._unpacking.bytes_out)
        files = self._unpacking.files
        prefix = None
        if self._stream.format in ONE_FILE:
            _verify(files[0], self._stream.sha256)
        elif prefix := common_folder([file.path for file in files]):
            files = [msgspec.structs.replace(file, path=file.path[len(prefix) + 1 :]) for file in files]
        await self._finish(
            "extracted",
            ArchiveExtracted(
                upload_id=self._stream.upload_id,
                stream_id=self._stream.id,
                files=files,
                stripped_prefix=prefix,
                dropped=self._unpacking.dropped,
                bytes_in=self._unpacking.bytes_in,
                at=datetime.now(UTC),
            ),
        )

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """Tell now and then how far it is."""
        telling = asyncio.create_task(self._tell_progress())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.wait([telling])
        if not telling.cancelled():
            telling.result()

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(self._tools.config.progress_every_s)
            progress = (self.parts.done, len(self._unpacking.files), self._unpacking.bytes_out)
            if progress == self._told:
                continue
            try:
                async with transaction(self._tools.pool) as tx:
                    if await store.hold(tx, self._claim):
                        await emit(tx, [self._progressed(*progress)])
            except Unavailable as trouble:
                log.warning("cannot tell of progress: %s", trouble)
            else:
                self._told = progress

    def _progressed(self, parts_done: int, members: int, bytes_out: int) -> ArchiveProgressed:
        return ArchiveProgressed(
            upload_id=self._stream.upload_id,
            stream_id=self._stream.id,
            parts_done=parts_done,
            members=members,
            bytes_out=bytes_out,
            at=datetime.now(UTC),
        )

    async def _reject(self, finding: Finding) -> None:
        rejected = ArchiveRejected(
            upload_id=self._stream.upload_id, stream_id=self._stream.id, finding=finding, at=datetime.now(UTC)
        )
        await self._finish("rejected", rejected)

    async def _fail(self, error: Exception) -> None:
        """An error that nobody foresaw: perhaps it passes."""
        if self._claim.failures + 1 < self._tools.config.max_attempts:
            await self._postpone(failed=True)
            return
        if isinstance(error, ObjectNotFound):
            rule, found = "part-missing", f"part {self.parts.done} is no longer in storage."
        else:
            reason = shown(f"{type(error).__name__}: {error}")
            rule, found = "extraction-failed", f"the archive could not be unpacked ({reason})."
        await self._reject(refusal(rule, found, "Upload it again; tell the operator if that does not help.").finding)

    async def _finish(self, state: Literal["extracted", "rejected"], result: store.Result) -> None:
        """Record and tell the result; while Postgres is away, as long as the lease lasts."""
        while True:
            try:
                self._lease.check()
                async with transaction(self._tools.pool) as tx:
                    await store.lock_upload(tx, self._stream.upload_id)  # no part is told of meanwhile
                    if not await store.finish(tx, self._claim, state, result):
                        raise LeaseLost
                    await store.forget_parts(tx, self._claim.id)
                    await emit(tx, [result])
            except LeaseLost:
                self._lost()
            except Unavailable as trouble:
                log.warning("cannot record the result yet: %s", trouble)
                await asyncio.sleep(FINISH_AGAIN_S)  # nothing tells when Postgres is back
                continue
            else:
                metrics.attempts.labels(state).inc()
                log.info("extraction ended", extra={"stream_id": self._claim.id, "state": state})
            return

    def _lost(self) -> None:
        metrics.attempts.labels("lost").inc()
        log.warning("extraction lost its lease", extra={"stream_id": self._claim.id})

    async def _postpone(self, *, failed: bool) -> None:
        metrics.attempts.labels("put_off").inc()
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(self._claim.troubles, 10))
        await self._give_back(lambda tx: store.postpone(tx, self._claim, delay_s, failed=failed))

    async def _give_back(self, statement: Callable[[Tx], Awaitable[None]]) -> None:
        """Let others claim the stream; if Postgres is away, the lease runs out by itself."""
        try:
            async with transaction(self._tools.pool) as tx:
                await statement(tx)
                await notify(tx, NEWS, self._claim.id)
        except Unavailable as trouble:
            log.warning("cannot give the lease back: %s", trouble)


def _unpacker(stream: PartStream, config: ExtractorConfig) -> Unpacker:
    if stream.format in ONE_FILE:
        return join_parts(stream.path or "", stream.size_bytes)
    return unpack_archive(stream.format, config.archive_limits(), size_bytes=stream.size_bytes, sha256=stream.sha256)


def _verify(file: StoredFile, declared_sha256: str | None) -> None:
    """Raises: BadArchive if the file is not what was declared."""
    if declared_sha256 not in (None, file.sha256):
        found = f"its SHA-256 is {file.sha256}, not {declared_sha256} as declared."
        raise refusal("file-checksum", found, "Send the file again.", file=file.path)


def _died(times: int) -> BadArchive:
    found = f"the extractor did not survive unpacking it ({times} times)."
    return refusal("extraction-failed", found, "Tell the operator; the logs have the reason.")
