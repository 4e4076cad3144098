"""Workers that delete what the tables say is to be deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from libs.blobs import Blobs
from libs.contracts import ObjectDeleted, new_id
from libs.db import Pool, connection, transaction
from libs.errors import Unavailable
from libs.outbox import emit
from libs.signals import Signals
from services.lifecycle import metrics
from services.lifecycle.batches import BATCH, batched, each, sliced
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import PURGES
from services.lifecycle.loop import Interrupted, run_on_signal
from services.lifecycle.ownership import Ownership
from services.lifecycle.store import objects, purges
from services.lifecycle.store.purges import Purge

LONGEST_BACKOFF_S = 3600.0  # between two attempts at what storage refuses
TURN_BATCHES = 25  # with something to delete; then other projects have their turn

log = logging.getLogger(__name__)


class PurgeWorker:
    """Claims due purges, one after the other, of one project after the other.

    Each may be cut off at any time: the next claim begins its pass again.
    """

    def __init__(
        self, pool: Pool, blobs: Blobs, signals: Signals, ownership: Ownership, config: LifecycleConfig
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._ownership = ownership
        self._config = config
        self._name = new_id()
        self._last_project = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Purge until `stop`; what is under way then is given back."""
        await run_on_signal(
            lambda: self.purge_next(stop), stop, self._signals, PURGES, self._config.poll_s, name="purge"
        )

    async def purge_next(self, stop: asyncio.Event) -> bool:
        """Do a pass of the purge whose turn it is. Returns False if none is due, or nothing may be deleted.

        Emits: ObjectDeleted.
        Raises: Unavailable, before anything is claimed.
        """
        if await self._ownership.stopped() is not None:
            return False
        async with connection(self._pool) as tx:
            purge = await purges.claim(tx, self._name, self._config.lease_s, after_project=self._last_project)
        if purge is None:
            return False
        self._last_project = purge.project_id
        try:
            done = await self._pass(purge, stop)
        except Interrupted:
            await self._put_back(purge, delay_s=0)
        except Unavailable as error:
            log.warning("purge of %s: %s", purge.prefix or "keys", error)
            await self._put_back(purge, delay_s=_backoff_s(purge.failures), failed=True)
        except Exception:
            # One purge that cannot be done must not keep the others from being done.
            log.exception("purge of %s failed; it will be tried again", purge.prefix or "keys")
            await self._put_back(purge, delay_s=_backoff_s(purge.failures + 6), failed=True)
        else:
            await (self._end_pass(purge) if done else self._put_back(purge, delay_s=0))
        return True

    async def _pass(self, purge: Purge, stop: asyncio.Event) -> bool:
        """Delete everything of the purge that is not live. Returns False if there is more than fits a turn.

        Raises: Unavailable, after deleting what can be; Interrupted.
        """
        if purge.prefix is not None:
            await self._blobs.abort_multiparts(purge.prefix)
        refused: Unavailable | None = None
        turns = 0
        async with aclosing(self._batches(purge)) as batches:
            async for keys in batches:
                if turns == TURN_BATCHES and purge.prefix is not None:
                    break
                if stop.is_set() or await self._ownership.stopped() is not None or not await self._renew(purge):
                    raise Interrupted
                try:
                    turns += await self._delete(purge, keys)
                except Refusals as error:
                    refused = error
        if refused is not None:
            raise refused
        return turns < TURN_BATCHES or purge.prefix is None

    async def _batches(self, purge: Purge) -> AsyncGenerator[Sequence[str], None]:
        """The purge's keys; or what is stored under its prefix, and what an earlier pass did not quite delete there."""
        if purge.prefix is None:
            for keys in sliced(purge.keys or []):
                yield keys
            return
        async with aclosing(batched(self._blobs.list(purge.prefix))) as found:
            async for infos in found:
                yield [info.key for info in infos]
        after = ""
        while dropped := await self._dropped_under(purge.prefix, after):
            yield dropped
            after = dropped[-1]

    async def _dropped_under(self, prefix: str, after: str) -> list[str]:
        async with connection(self._pool) as tx:
            return await objects.dropped_under(tx, prefix, after=after, limit=BATCH)

    async def _delete(self, purge: Purge, keys: Sequence[str]) -> bool:
        """Delete those of `keys` that are not live: first by the table, then in storage, then the table says so.

        Returns whether there were any. Raises: Unavailable; Refusals, after deleting the others.
        """
        async with transaction(self._pool) as tx:
            claimed = await objects.claim_for_deletion(tx, purge.project_id, keys, reason=purge.reason)
        if not claimed:
            return False
        try:
            await self._blobs.delete(claimed)
        except Unavailable as error:
            if not await self._blobs.ping():
                raise
            refused = await self._delete_each(claimed)
            await self._mark_deleted(purge, [key for key in claimed if key not in refused])
            if refused:
                message = f"Storage does not delete {len(refused)} objects, such as {min(refused)}: {error}"
                raise Refusals(message) from error
        else:
            await self._mark_deleted(purge, claimed)
        return True

    async def _delete_each(self, keys: Sequence[str]) -> set[str]:
        """Delete one by one. Returns those that storage refuses to delete."""

        async def delete(key: str) -> bool:
            try:
                await self._blobs.delete([key])
            except Unavailable:
                return False
            return True

        return {key for key, gone in zip(keys, await each(delete, keys), strict=True) if not gone}

    async def _mark_deleted(self, purge: Purge, keys: Sequence[str]) -> None:
        async with transaction(self._pool) as tx:
            deleted = await objects.mark_deleted(tx, keys)
            if deleted:
                await emit(tx, [ObjectDeleted(project_id=purge.project_id, keys=deleted, at=datetime.now(UTC))])
        metrics.objects_deleted.inc(len(deleted))

    async def _renew(self, purge: Purge) -> bool:
        async with connection(self._pool) as tx:
            return await purges.renew(tx, purge.id, self._name, self._config.lease_s)

    async def _put_back(self, purge: Purge, *, delay_s: float, failed: bool = False) -> None:
        async with connection(self._pool) as tx:
            await purges.put_back(tx, purge.id, self._name, delay_s=delay_s, failed=failed)

    async def _end_pass(self, purge: Purge) -> None:
        pauses_s = self._config.pauses_s
        async with connection(self._pool) as tx:
            if purge.pass_number < len(pauses_s):
                await purges.end_pass(tx, purge, self._name, next_in_s=pauses_s[purge.pass_number])
            elif not await purges.finish(tx, purge, self._name):
                await purges.end_pass(tx, purge, self._name, next_in_s=0)


class Refusals(Unavailable):
    """Storage deletes some of the objects, and not others."""


def _backoff_s(failures: int) -> float:
    """After so many failures: 1 s, 2 s, 4 s, … up to an hour."""
    return float(min(2.0 ** min(failures, 30), LONGEST_BACKOFF_S))
