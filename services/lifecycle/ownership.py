"""Whose buckets they are: an installation writes its id into each, and deletes nothing where it finds another id."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

import msgspec

from libs.blobs import Blobs
from libs.contracts import Tier
from libs.db import Pool, connection
from libs.errors import ObjectNotFound
from services.lifecycle import metrics
from services.lifecycle.store import installation
from services.lifecycle.store.installation import Installation

MARK_KEY = "slipway/installation.json"  # beside the projects' prefixes
_MARK_BYTES = 16 * 1024  # more than any mark has
_SETTINGS: dict[Tier, str] = {"hot": "SLIPWAY_S3_URL", "cold": "SLIPWAY_S3_COLD_URL"}

log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The content of MARK_KEY, as JSON."""

    id: str  # the installation's
    namespace: str = ""
    created_at: datetime | None = None  # the installation's, UTC
    generation: int = 0  # audits that the installation had begun when it wrote this


class Ownership:
    """Whether this installation may delete in its buckets: one, or one for each tier. All have to be its own.

    Not every store has conditional PUTs, so a mark is written, read back, and read again before each audit and, while
    something is deleted, every `check_every_s`. Of two installations that begin at once, the later writer keeps the
    bucket; the other one finds that out at its next check, and has deleted only what its own events named.
    """

    def __init__(self, pool: Pool, blobs: Blobs, namespace: str, check_every_s: float) -> None:
        self._pool = pool
        self._tiers = blobs.tiers
        self._namespace = namespace
        self._check_every_s = check_every_s
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None  # on the loop's clock
        self._stopped: str | None = None

    async def stopped(self, *, fresh: bool = False) -> str | None:
        """Why nothing may be deleted, and what to do about it; None if the buckets are this installation's.

        Answers from memory for `check_every_s`, unless `fresh`. A bucket without a mark is taken.
        Raises: Unavailable.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if fresh or self._checked_at is None or now - self._checked_at >= self._check_every_s:
                self._set(await self._look(), now)
            return self._stopped

    async def holds(self) -> bool:
        """Whether the buckets are this installation's, for /readyz. Raises: Unavailable."""
        return await self.stopped() is None

    async def renew(self) -> None:
        """Begin the next generation, in the database and then in the buckets. Only if these are this installation's.

        Raises: Unavailable.
        """
        async with connection(self._pool) as tx:
            own = await installation.advance(tx)
        await self._write_all(own)

    async def take_over(self) -> None:
        """Take the buckets over: write this installation's id and a generation above those that are there.

        Raises: Unavailable.
        """
        marks = [mark for bucket in self._tiers.values() if (mark := await _read(bucket)) is not None]
        async with connection(self._pool) as tx:
            own = await installation.advance(tx, beyond=max((mark.generation for mark in marks), default=0))
        for mark in marks:
            if mark.id != own.id:
                log.warning("taking the bucket over from installation %s", mark.id)
        await self._write_all(own)

    async def _look(self) -> str | None:
        marks = {tier: await _read(bucket) for tier, bucket in self._tiers.items()}  # before the database, which is
        async with connection(self._pool) as tx:  # always ahead of the buckets
            own = await installation.load(tx)
        for tier, bucket in self._tiers.items():
            mark = marks[tier]
            if mark is None:
                await self._write(bucket, own)
                mark = await _read(bucket)
            if reason := _why_stopped(mark, own, _SETTINGS[tier]):
                return reason
        return None

    async def _write_all(self, own: Installation) -> None:
        for bucket in self._tiers.values():
            await self._write(bucket, own)

    async def _write(self, bucket: Blobs, own: Installation) -> None:
        mark = Mark(id=own.id, namespace=self._namespace, created_at=own.created_at, generation=own.generation)
        await bucket.put_bytes(MARK_KEY, msgspec.json.encode(mark))

    def _set(self, stopped: str | None, now: float) -> None:
        """Remember the result, and log a change of it."""
        if stopped is not None and stopped != self._stopped:
            log.error("%s", stopped)
        if stopped is None and self._stopped is not None:
            log.info("the bucket is this installation's again; deleting goes on")
        self._stopped, self._checked_at = stopped, now
        metrics.deletion_stopped.set(stopped is not None)


async def _read(bucket: Blobs) -> Mark | None:
    try:
        content = await bucket.read(MARK_KEY, 0, _MARK_BYTES)
    except ObjectNotFound:
        return None
    try:
        return msgspec.json.decode(content, type=Mark)
    except msgspec.DecodeError:
        return Mark(id="(unreadable)")


def _why_stopped(mark: Mark | None, own: Installation, setting: str) -> str | None:
    """None if the bucket, which `setting` names, is `own`'s."""
    if mark is None:
        return f"The store does not keep {MARK_KEY}, which names the installation. Nothing is deleted."
    if mark.id != own.id:
        return (
            f"The bucket belongs to installation {mark.id} (namespace {mark.namespace!r}), this one is {own.id}. "
            f"Nothing is deleted. Give this installation a bucket of its own ({setting}); or, if the other one is "
            "gone for good, take the bucket over with `slipway admin audit --fix`."
        )
    if mark.generation > own.generation:
        return (
            f"The bucket has seen audit {mark.generation} of this installation, its database only {own.generation}: "
            "the database was restored from a backup, or is a copy. Nothing is deleted. Objects that are newer than "
            "the backup belong to no model that it knows; if they may go, say so with `slipway admin audit --fix`."
        )
    return None
