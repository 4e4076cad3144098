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
from services.lifecycle.batches import batched, sliced
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import PURGES
from services.lifecycle.looping import Interrupted, keep_doing
from services.lifecycle.store import objects, purges
from services.lifecycle.store.purges import Purge

LONGEST_BACKOFF_S = 60.0

log = logging.getLogger(__name__)


class PurgeWorker:
    """Claims due purges, one after the other. Each may be cut off at any time: the next claim begins its pass again."""

    def __init__(self, pool: Pool, blobs: Blobs, signals: Signals, config: LifecycleConfig) -> None:
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._config = config
        self._name = new_id()

    async def run(self, stop: asyncio.Event) -> None:
        """Purge until `stop`; what is under way then is given back."""
        await keep_doing(lambda: self.purge_next(stop), stop, self._signals, PURGES, self._config.poll_s, name="purge")

    async def purge_next(self, stop: asyncio.Event) -> bool:
        """Do a pass of the purge that has been due for longest. Returns False if none is.

        Emits: ObjectDeleted.
        """
        async with connection(self._pool) as tx:
            purge = await purges.claim(tx, self._name, self._config.lease_s)
        if purge is None:
            return False
        try:
            await self._pass(purge, stop)
        except Interrupted:
            await self._put_back(purge, delay_s=0)
        except Unavailable as trouble:
            log.warning("purge of %s: %s", purge.prefix or "keys", trouble)
            await self._put_back(purge, delay_s=min(2.0**purge.failures, LONGEST_BACKOFF_S), failed=True)
        except Exception:
            # One purge that cannot be done must not keep the others from being done.
            log.exception("purge of %s failed; it will be tried again", purge.prefix or "keys")
            await self._put_back(purge, delay_s=LONGEST_BACKOFF_S, failed=True)
        else:
            await self._end_pass(purge)
        return True

    async def _pass(self, purge: Purge, stop: asyncio.Event) -> None:
        """Delete everything of the purge that is not live.

        Raises: Unavailable; Interrupted.
        """
        if purge.prefix is not None:
            await self._blobs.abort_multiparts(purge.prefix)
        async with aclosing(self._batches(purge)) as batches:
            async for keys in batches:
                if stop.is_set() or not await self._renew(purge):
                    raise Interrupted
                await self._delete(purge, keys)

    async def _batches(self, purge: Purge) -> AsyncGenerator[Sequence[str], None]:
        """The purge's keys; or what is stored under its prefix, and what an earlier pass did not quite delete there."""
        if purge.prefix is None:
            for keys in sliced(purge.keys or []):
                yield keys
            return
        async with aclosing(batched(self._blobs.list(purge.prefix))) as found:
            async for infos in found:
                yield [info.key for info in infos]
        async with connection(self._pool) as tx:
            dropped = await objects.dropped_under(tx, purge.prefix)
        for keys in sliced(dropped):
            yield keys

    async def _delete(self, purge: Purge, keys: Sequence[str]) -> None:
        """Delete those of `keys` that are not live: first by the table, then in storage, then the table says so."""
        async with transaction(self._pool) as tx:
            condemned = await objects.condemn(tx, purge.project_id, keys, reason=purge.reason)
        if not condemned:
            return
        await self._blobs.delete(condemned)
        async with transaction(self._pool) as tx:
            deleted = await objects.bury(tx, condemned)
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
                await purges.next_pass(tx, purge.id, self._name, delay_s=pauses_s[purge.pass_number])
            else:
                await purges.finish(tx, purge.id, self._name)
