"""Audits: storage and the table of objects are compared.

What no event named is asked about, what is gone is reported. A pass is a sequence of phases, each a sequence of slices
with a cursor, so that it survives restarts and holds neither a lease nor a transaction for long:

    idle -> scan (count, record) -> confirm (look again for what is missing, report it) -> ask (about what is unclaimed)
         -> forget (old rows) -> idle

A pass that stops (another's bucket, too much unclaimed or missing at once) goes from scan to forget.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from libs.blobs import Blobs
from libs.contracts import Event, ObjectAudited, ObjectFound, ObjectMissing, ObjectUnclaimed, new_id
from libs.db import Pool, Tx, connection, transaction
from libs.errors import Unavailable
from libs.outbox import emit
from libs.signals import Signals, notify
from services.lifecycle.batches import BATCH, each
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import AUDITS, PURGES
from services.lifecycle.loop import Interrupted, run_on_signal
from services.lifecycle.ownership import Ownership
from services.lifecycle.scanning import Scanner, Unordered
from services.lifecycle.stopping import UNORDERED, why_stop
from services.lifecycle.store import objects, purges, reconciliation, unclaimed
from services.lifecycle.store.objects import MissingObject
from services.lifecycle.store.reconciliation import Audit, Counts, Phase
from services.lifecycle.store.unclaimed import Unclaimed

RETRY_S = 60.0
SLICE_BATCHES = 10  # of keys asked about or looked for, or of rows forgotten, in one slice
FORGOTTEN_AT_ONCE = 1000  # rows a transaction
NAMED_AT_MOST = 20  # keys in an event or a line of the log, for people

log = logging.getLogger(__name__)


class Reconciler:
    """Does one slice after the other; of several processes the one that claims it."""

    def __init__(
        self, pool: Pool, blobs: Blobs, signals: Signals, ownership: Ownership, config: LifecycleConfig
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._signals = signals
        self._ownership = ownership
        self._config = config
        self._scanner = Scanner(pool, blobs, config)
        self._name = new_id()

    async def run(self, stop: asyncio.Event) -> None:
        """Audit whenever it is time, until `stop`."""
        await run_on_signal(
            lambda: self.next_slice(stop), stop, self._signals, AUDITS, self._config.poll_s, name="audit"
        )

    async def next_slice(self, stop: asyncio.Event) -> bool:
        """Do the next slice. Returns False if none is due, or another process is at it.

        Emits: ObjectMissing, ObjectFound, ObjectUnclaimed; ObjectAudited at the end of a pass.
        """
        async with connection(self._pool) as tx:
            audit = await reconciliation.claim(tx, self._name, self._config.lease_s)
        if audit is None:
            return False
        phases = {
            "idle": self._begin,
            "scan": self._scan,
            "confirm": self._confirm,
            "ask": self._ask,
            "forget": self._forget,
        }
        try:
            await phases[audit.phase](audit, stop)
        except Interrupted:
            log.info("audit interrupted: the process is stopping, or another one goes on with it")
            await self._pause(audit, 0)
        except Unavailable as error:
            log.warning("audit interrupted, it goes on in %g s: %s", RETRY_S, error)
            await self._pause(audit, RETRY_S)
        except Unordered:
            await self._enter(audit, "forget", stopped=UNORDERED)
        except Exception:
            # An error here must not keep the service from purging.
            log.exception("audit failed, it goes on in %g s", RETRY_S)
            await self._pause(audit, RETRY_S)
        return True

    async def _begin(self, audit: Audit, stop: asyncio.Event) -> None:
        """Look whose bucket it is, take it over if an operator says so, and scan the first slice."""
        if audit.fix:
            await self._ownership.take_over()
        stopped = await self._ownership.stopped(fresh=True)
        if stopped is None and not audit.fix:
            await self._ownership.renew()
        async with transaction(self._pool) as tx:
            begun = await reconciliation.begin(tx, audit.fence, stopped=stopped)
            await notify(tx, PURGES)  # they may have waited for the bucket
        if begun is None:
            raise Interrupted
        await self._scan(begun, stop)

    async def _scan(self, audit: Audit, stop: asyncio.Event) -> None:
        """Compare a slice; at the end, or where it is clear before, decide whether anything is to be done about it."""
        audit, at_end = await self._scanner.scan(audit, stop)
        stopped = audit.stopped
        if stopped is None and not audit.fix:
            stopped = why_stop(audit, self._config, at_end=at_end)
        if stopped is not None and (at_end or audit.stopped is None):
            await self._enter(audit, "forget", stopped=stopped, whole=at_end)
        elif at_end:
            delay_s = self._config.missing_confirm_s if audit.newly_missing else 0
            await self._enter(audit, "confirm", delay_s=delay_s, whole=True)
        else:
            await self._pause(audit, self._config.slice_pause_s)

    async def _confirm(self, audit: Audit, stop: asyncio.Event) -> None:
        """Look again for what was missing, now and in earlier passes.

        Emits: ObjectFound for what was reported and is there; ObjectMissing for what is missing at the second look.
        """
        for _ in range(SLICE_BATCHES):
            await self._require_bucket(stop)
            async with connection(self._pool) as tx:
                keys = await objects.missing(tx, after=audit.cursor_key, limit=BATCH)
            if not keys:
                await self._enter(audit, "ask")
                return
            heads = await each(self._blobs.head, keys)
            gone = [key for key, head in zip(keys, heads, strict=True) if head is None]
            async with transaction(self._pool) as tx:
                found = await objects.unmark_missing(tx, sorted(set(keys) - set(gone)))
                reported = await objects.report_missing(tx, gone, missing_for_s=self._config.missing_confirm_s)
                await emit(tx, [*_by_project(ObjectFound, found), *_by_project(ObjectMissing, reported)])
                audit = await self._advance(tx, audit, keys[-1])
            if reported:
                named = [each.key for each in reported[:NAMED_AT_MOST]]
                log.error("registered objects are missing in storage", extra={"objects": len(reported), "keys": named})
        await self._pause(audit, self._config.slice_pause_s)

    async def _ask(self, audit: Audit, stop: asyncio.Event) -> None:
        """Ask the registry about what no event named. Emits: ObjectUnclaimed."""
        for _ in range(SLICE_BATCHES):
            await self._require_bucket(stop)
            async with transaction(self._pool) as tx:
                recorded = await unclaimed.recorded(tx, audit=audit.audit, after=audit.cursor_key, limit=BATCH)
                keys = [each.key for each in recorded]
                asked = await unclaimed.ask(tx, keys, now=audit.fix, pause_s=self._config.reconcile_interval_s)
                await emit(tx, _by_project(ObjectUnclaimed, asked))
                if recorded:
                    audit = await self._advance(tx, audit, recorded[-1].key)
            if not recorded:
                await self._enter(audit, "forget")
                return
            if asked:
                named = [each.key for each in asked[:NAMED_AT_MOST]]
                log.info(
                    "objects that no model is known to have; asking the registry",
                    extra={"objects": len(asked), "keys": named},
                )
        await self._pause(audit, self._config.slice_pause_s)

    async def _forget(self, audit: Audit, stop: asyncio.Event) -> None:
        """Remove rows that no event can need any more, and end the pass. Emits: ObjectAudited."""
        for _ in range(SLICE_BATCHES):
            if stop.is_set():
                raise Interrupted
            async with transaction(self._pool) as tx:
                forgotten = max(
                    await objects.forget(tx, self._config.forget_after_s, limit=FORGOTTEN_AT_ONCE),
                    await purges.forget(tx, self._config.forget_after_s, limit=FORGOTTEN_AT_ONCE),
                    await unclaimed.forget(tx, before=audit.audit, limit=FORGOTTEN_AT_ONCE),
                )
                audit = await self._advance(tx, audit, "")
            if forgotten < FORGOTTEN_AT_ONCE:
                await self._finish(audit)
                return
        await self._pause(audit, self._config.slice_pause_s)

    async def _finish(self, audit: Audit) -> None:
        async with transaction(self._pool) as tx:
            some = await unclaimed.recorded(tx, audit=audit.audit, after="", limit=NAMED_AT_MOST)
            audited = ObjectAudited(
                objects=audit.objects,
                size_bytes=audit.size_bytes,
                unclaimed=audit.unclaimed,
                missing=audit.missing,
                foreign=audit.foreign_objects,
                stopped=audit.stopped,
                keys=[each.key for each in some],
                at=datetime.now(UTC),
            )
            if not await reconciliation.finish(tx, audit.fence, next_in_s=self._config.reconcile_interval_s):
                raise Interrupted
            await emit(tx, [audited])
        counts = {name: getattr(audit, name) for name in Counts.__struct_fields__}
        if audit.stopped is not None:
            log.warning("audit stopped: %s", audit.stopped, extra=counts)
        else:
            log.info("audit ended", extra=counts)
        if audit.foreign_objects:
            log.warning(
                "the bucket holds objects of no project of this installation; they are left alone",
                extra={"objects": audit.foreign_objects},
            )

    async def _require_bucket(self, stop: asyncio.Event) -> None:
        """Raises: Interrupted if the bucket is not this installation's any more, or the process is stopping."""
        if stop.is_set():
            raise Interrupted
        if await self._ownership.stopped() is not None:
            async with transaction(self._pool) as tx:
                await reconciliation.request(tx)  # from the beginning, which says why it stops
            raise Interrupted

    async def _advance(self, tx: Tx, audit: Audit, cursor_key: str) -> Audit:
        """Raises: Interrupted if another process has taken over."""
        advanced = await reconciliation.advance(tx, audit.fence, cursor_key, self._config.lease_s, Counts())
        if advanced is None:
            raise Interrupted
        return advanced

    async def _enter(
        self, audit: Audit, phase: Phase, *, delay_s: float = 0, stopped: str | None = None, whole: bool = False
    ) -> None:
        async with connection(self._pool) as tx:
            await reconciliation.enter(tx, audit.fence, phase, delay_s=delay_s, stopped=stopped, whole=whole)

    async def _pause(self, audit: Audit, delay_s: float) -> None:
        async with connection(self._pool) as tx:
            await reconciliation.put_back(tx, audit.fence, delay_s=delay_s)


def _by_project(
    kind: type[ObjectMissing] | type[ObjectFound] | type[ObjectUnclaimed],
    found: Iterable[MissingObject] | Iterable[Unclaimed],
) -> list[Event]:
    """One event a project."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for each_one in found:
        keys[each_one.project_id].append(each_one.key)
    now = datetime.now(UTC)
    return [kind(project_id=project_id, keys=sorted(keys), at=now) for project_id, keys in keys.items()]
