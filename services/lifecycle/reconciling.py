"""Storage and the table of objects, compared: what nobody told of is asked about, what is gone is told of."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from libs.blobs import Blobs, ObjectInfo
from libs.contracts import Event, ObjectUnclaimed, new_id
from libs.contracts.keys import upload_of
from libs.db import Pool, connection, transaction
from libs.errors import Unavailable
from libs.outbox import emit
from libs.signals import Signals, notify
from services.lifecycle import metrics
from services.lifecycle.batches import batched, sliced
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.looping import Interrupted, keep_doing
from services.lifecycle.store import objects, reconciliation

RECONCILE = "reconcile"  # the channel
RETRY_S = 60.0
MISSING_AT_MOST = 10_000  # if all is lost, it need not be found out of each
NAMED_AT_MOST = 20  # keys in a line of the log

log = logging.getLogger(__name__)


async def request_reconciliation(pool: Pool) -> None:
    """Have one process reconcile now instead of at its hour."""
    async with transaction(pool) as tx:
        await reconciliation.request(tx)
        await notify(tx, RECONCILE)


@dataclass
class Scan:
    """Where a comparison stands."""

    started_at: datetime  # by the database's clock
    after: str = ""  # the last key of the listing so far
    in_order: bool = True  # as S3 promises: without it, what is missing cannot be told by ranges of keys
    absent: list[str] = field(default_factory=list)
    foreign: int = 0  # keys of another shape, which are not ours to judge


class Reconciler:
    """Compares once an hour, one process at a time."""

    def __init__(self, pool: Pool, blobs: Blobs, signals: Signals, config: LifecycleConfig) -> None:
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._config = config
        self._name = new_id()

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile whenever it is time, until `stop`."""
        interval_s = min(self._config.reconcile_interval_s, RETRY_S)
        await keep_doing(
            lambda: self.reconcile_if_due(stop), stop, self._signals, RECONCILE, interval_s, name="reconciliation"
        )

    async def reconcile_if_due(self, stop: asyncio.Event) -> bool:
        """Returns False if it is not time, or another process is at it.

        Emits: ObjectUnclaimed.
        """
        async with connection(self._pool) as tx:
            started_at = await reconciliation.claim(tx, self._name, self._config.lease_s)
        if started_at is None:
            return False
        try:
            await self._compare(Scan(started_at), stop)
        except (Interrupted, Unavailable) as trouble:
            log.warning("reconciliation broken off: %s", str(trouble) or "stopping, or taken over by another process")
            async with connection(self._pool) as tx:
                await reconciliation.put_back(tx, self._name, RETRY_S)
        else:
            async with transaction(self._pool) as tx:
                await objects.forget(tx, self._config.forget_after_s)
                await reconciliation.finish(tx, self._name, self._config.reconcile_interval_s)
        return True

    async def _compare(self, scan: Scan, stop: asyncio.Event) -> None:
        """Raises: Unavailable; Interrupted."""
        async with aclosing(batched(self._blobs.list())) as pages:
            async for page in pages:
                await self._go_on(stop)
                await self._ask_about(page, scan)
                await self._look_for_absent([info.key for info in page], scan)
        await self._look_for_absent([], scan)
        await self._tell_of_missing(scan, stop)
        if scan.foreign:
            log.warning("the bucket holds objects that are not Slipway's; left alone", extra={"objects": scan.foreign})

    async def _ask_about(self, page: Sequence[ObjectInfo], scan: Scan) -> None:
        """Emits: ObjectUnclaimed, one per project, for what is old enough and neither live nor about to be purged."""
        ours = [info.key for info in page if upload_of(info.key) is not None]
        scan.foreign += len(page) - len(ours)
        settled = scan.started_at - timedelta(seconds=self._config.orphan_after_s)
        old = {info.key for info in page if info.modified_at <= settled}
        candidates = [key for key in ours if key in old]
        async with transaction(self._pool) as tx:
            strangers = await objects.strangers(tx, candidates, [_upload_prefix(key) for key in candidates])
            by_project: defaultdict[str, list[str]] = defaultdict(list)
            for key in strangers:
                by_project[key.partition("/")[0]].append(key)
            questions: list[Event] = [
                ObjectUnclaimed(project_id=project_id, keys=keys, at=datetime.now(UTC))
                for project_id, keys in by_project.items()
            ]
            await emit(tx, questions)
        if strangers:
            log.info(
                "objects that no model is known to have; asking the registry",
                extra={"objects": len(strangers), "keys": strangers[:NAMED_AT_MOST]},
            )
            metrics.objects_unclaimed.inc(len(strangers))

    async def _look_for_absent(self, keys: list[str], scan: Scan) -> None:
        """Collect the live objects between the last page and this one's end (or no end) that are not in it."""
        if keys != sorted(keys) or (keys and keys[0] <= scan.after):
            scan.in_order = False
        if not scan.in_order:
            return
        async with connection(self._pool) as tx:
            scan.absent += await objects.absent(
                tx,
                keys,
                after=scan.after,
                up_to=keys[-1] if keys else None,
                registered_before=scan.started_at,
                limit=MISSING_AT_MOST - len(scan.absent),
            )
        scan.after = keys[-1] if keys else scan.after

    async def _tell_of_missing(self, scan: Scan, stop: asyncio.Event) -> None:
        """Note which live objects are not in storage, after asking for each by its key.

        Raises: Unavailable; Interrupted.
        """
        if not scan.in_order:
            log.warning("the object store does not list in order of keys; cannot tell what is missing")
            return
        missing: list[str] = []
        for batch in sliced(scan.absent):
            await self._go_on(stop)
            missing += [key for key in batch if await self._blobs.head(key) is None]
        async with transaction(self._pool) as tx:
            await objects.unmark_missing(tx, missing)
            news = await objects.mark_missing(tx, missing)
            count = await objects.count_missing(tx)
        metrics.objects_missing.set(count)
        if news:
            log.error(
                "registered objects are missing in storage",
                extra={"objects": len(news), "keys": news[:NAMED_AT_MOST]},
            )

    async def _go_on(self, stop: asyncio.Event) -> None:
        """Raises: Interrupted, if that must not be."""
        async with connection(self._pool) as tx:
            held = await reconciliation.renew(tx, self._name, self._config.lease_s)
        if stop.is_set() or not held:
            raise Interrupted


def _upload_prefix(key: str) -> str:
    """What a purge of the key's upload would name: the first three steps of the key."""
    return "/".join(key.split("/", 3)[:3]) + "/"
