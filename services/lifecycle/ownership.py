"""Whose bucket it is: an installation writes its id into it, and deletes nothing where it finds another id."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

import msgspec

from libs.blobs import Blobs
from libs.db import Pool, connection
from libs.errors import ObjectNotFound
from services.lifecycle import metrics
from services.lifecycle.store import installation
from services.lifecycle.store.installation import Installation

MARK_KEY = "slipway/installation.json"  # beside the projects' prefixes
_MARK_BYTES = 16 * 1024  # more than any mark has

log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The content of MARK_KEY, as JSON."""

    id: str  # the installation's
    namespace: str = ""
    created_at: datetime | None = None  # the installation's, UTC
    generation: int = 0  # audits that the installation had begun when it wrote this


class Ownership:
    """Whether this installation may delete in its bucket.

    Not every store has conditional PUTs, so a mark is written, read back, and read again before each audit and, while
    something is deleted, every `check_every_s`. Of two installations that begin at once, the later writer keeps the
    bucket; the other one finds that out at its next check, and has deleted only what its own events named.
    """

    def __init__(self, pool: Pool, blobs: Blobs, namespace: str, check_every_s: float) -> None:
        self._pool = pool
        self._blobs = blobs
        self._namespace = namespace
        self._check_every_s = check_every_s
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None  # on the loop's clock
        self._stopped: str | None = None

    async def stopped(self, *, fresh: bool = False) -> str | None:
        """Why nothing may be deleted, and what to do about it; None if the bucket is this installation's.

        Answers from memory for `check_every_s`, unless `fresh`. A bucket without a mark is taken.
        Raises: Unavailable.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if fresh or self._checked_at is None or now - self._checked_at >= self._check_every_s:
                self._set(await self._look(), now)
            return self._stopped

    async def holds(self) -> bool:
        """Whether the bucket is this installation's, for /readyz. Raises: Unavailable."""
        return await self.stopped() is None

    async def renew(self) -> None:
        """Begin the next generation, in the database and then in the bucket. Only if the bucket is this installation's.

        Raises: Unavailable.
        """
        async with connection(self._pool) as tx:
            own = await installation.advance(tx)
        await self._write(own)

    async def take_over(self) -> None:
        """Take the bucket over: write this installation's id and a generation above the one that is there.

        Raises: Unavailable.
        """
        mark = await self._read()
        async with connection(self._pool) as tx:
            own = await installation.advance(tx, beyond=mark.generation if mark else 0)
        if mark is not None and mark.id != own.id:
            log.warning("taking the bucket over from installation %s", mark.id)
        await self._write(own)

    async def _look(self) -> str | None:
        mark = await self._read()  # before the database, which is always ahead of the bucket
        async with connection(self._pool) as tx:
            own = await installation.load(tx)
        if mark is None:
            await self._write(own)
            mark = await self._read()
        return _why_stopped(mark, own)

    async def _read(self) -> Mark | None:
        try:
            content = await self._blobs.read(MARK_KEY, 0, _MARK_BYTES)
        except ObjectNotFound:
            return None
        try:
            return msgspec.json.decode(content, type=Mark)
        except msgspec.DecodeError:
            return Mark(id="(unreadable)")

    async def _write(self, own: Installation) -> None:
        mark = Mark(id=own.id, namespace=self._namespace, created_at=own.created_at, generation=own.generation)
        await self._blobs.put_bytes(MARK_KEY, msgspec.json.encode(mark))

    def _set(self, stopped: str | None, now: float) -> None:
        """Remember the result, and log a change of it."""
        if stopped is not None and stopped != self._stopped:
            log.error("%s", stopped)
        if stopped is None and self._stopped is not None:
            log.info("the bucket is this installation's again; deleting goes on")
        self._stopped, self._checked_at = stopped, now
        metrics.deletion_stopped.set(stopped is not None)


def _why_stopped(mark: Mark | None, own: Installation) -> str | None:
    """None if the bucket is `own`'s."""
    if mark is None:
        return f"The store does not keep {MARK_KEY}, which names the installation. Nothing is deleted."
    if mark.id != own.id:
        return (
            f"The bucket belongs to installation {mark.id} (namespace {mark.namespace!r}), this one is {own.id}. "
            "Nothing is deleted. Give this installation a bucket of its own (SLIPWAY_S3_URL); or, if the other one is "
            "gone for good, take the bucket over with `slipway admin audit --fix`."
        )
    if mark.generation > own.generation:
        return (
            f"The bucket has seen audit {mark.generation} of this installation, its database only {own.generation}: "
            "the database was restored from a backup, or is a copy. Nothing is deleted. Objects that are newer than "
            "the backup belong to no model that it knows; if they may go, say so with `slipway admin audit --fix`."
        )
    return None
