"""Audits: compare storage with the table of objects, ask about objects that no event has named, report missing ones.

A pass is a sequence of phases, each a sequence of slices with a cursor, so that it survives restarts and holds neither
a lease nor a transaction for long:

    idle -> scan (count, record) -> confirm (look again for missing objects, report) -> ask (about unclaimed objects)
         -> forget (old rows) -> idle

A pass that stops (another installation's bucket, too many objects unclaimed or missing) goes from scan to forget.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from libs.contracts import Event, ObjectAudited, ObjectFound, ObjectMissing, ObjectUnclaimed, new_id
from libs.db import Tx, connection, transaction
from libs.errors import Unavailable
from libs.outbox import emit
from libs.periodic import AT_ONCE, repeat
from libs.signals import notify
from services.lifecycle.audit_multiparts import record_abandoned
from services.lifecycle.audit_scan import Scanner, Unordered
from services.lifecycle.audit_stop import NO_COLD_TIER, UNORDERED, reason_to_stop
from services.lifecycle.dependencies import Dependencies
from services.lifecycle.errors import Interrupted
from services.lifecycle.groups import GROUP_SIZE, call_each
from services.lifecycle.store import audits, moves, objects, purges, retention, unclaimed
from services.lifecycle.store.audits import Audit, Counts, Phase
from services.lifecycle.store.objects import MissingObject
from services.lifecycle.store.unclaimed import Unclaimed

RETRY_S = 60.0
SLICE_GROUPS = 10  # of keys that are asked about or looked for, or of rows deleted, in one slice
FORGOTTEN_AT_ONCE = 1000  # rows deleted in one transaction
NAMED_AT_MOST = 20  # keys in an event or a line of the log, for people

log = logging.getLogger(__name__)


class AuditWorker:
    """Does one slice after the other; each is done by the process that claims it."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._config = dependencies.config
        self._pool = dependencies.pool
        self._blobs = dependencies.blobs
        self._signals = dependencies.signals
        self._ownership = dependencies.ownership
        self._scanner = Scanner(self._pool, self._blobs, self._config)
        self._holder = new_id()

    async def run(self, stop: asyncio.Event) -> None:
        """Do the slices that are due, until `stop`."""

        async def work() -> float | None:
            return AT_ONCE if await self.next_slice(stop) else None

        with self._signals.subscribe(audits.CHANNEL) as requested:
            await repeat(stop, work, self._config.poll_s, name="audit", wake=requested)

    async def next_slice(self, stop: asyncio.Event) -> bool:
        """Do the next slice. Returns False if none is due, or another process is doing it.

        Emits: ObjectMissing, ObjectFound, ObjectUnclaimed; ObjectAudited at the end of a pass.
        """
        async with connection(self._pool) as tx:
            audit = await audits.claim(tx, self._holder, self._config.lease_s)
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
            # An error of the audit must not end the process, which also purges.
            log.exception("audit failed, it goes on in %g s", RETRY_S)
            await self._pause(audit, RETRY_S)
        return True

    async def _begin(self, audit: Audit, stop: asyncio.Event) -> None:
        """Check whose bucket it is, take it over if an operator has allowed that, and scan the first slice."""
        if audit.fix:
            await self._ownership.take_over()
        stopped = await self._ownership.stopped(fresh=True)
        if stopped is None and not audit.fix:
            await self._ownership.renew()
        async with transaction(self._pool) as tx:
            if stopped is None and "cold" not in self._blobs.tiers and await moves.any_cold(tx):
                stopped = NO_COLD_TIER
            begun = await audits.begin(tx, audit.fence, stopped=stopped)
            await notify(tx, purges.CHANNEL)  # purges may be waiting for the bucket
        if begun is None:
            raise Interrupted
        await self._scan(begun, stop)

    async def _scan(self, audit: Audit, stop: asyncio.Event) -> None:
        """Compare a slice; at the end, or as soon as that is clear, decide whether to act on the findings."""
        audit, at_end = await self._scanner.scan(audit, stop)
        stopped = audit.stopped
        if stopped is None and not audit.fix:
            stopped = reason_to_stop(audit, self._config, at_end=at_end)
        if stopped is not None and (at_end or audit.stopped is None):
            await self._enter(audit, "forget", stopped=stopped, whole=at_end)
        elif at_end:
            await record_abandoned(self._pool, self._blobs, self._config, audit)
            delay_s = self._config.missing_confirm_s if audit.newly_missing else 0
            await self._enter(audit, "confirm", delay_s=delay_s, whole=True)
        else:
            await self._pause(audit, self._config.slice_pause_s)

    async def _confirm(self, audit: Audit, stop: asyncio.Event) -> None:
        """Look again for objects that were missing, in this pass and in earlier ones.

        Emits: ObjectFound for those that were reported and are there; ObjectMissing for those still missing.
        """
        for _ in range(SLICE_GROUPS):
            await self._require_bucket(stop)
            async with connection(self._pool) as tx:
                keys = await objects.missing(tx, after=audit.cursor_key, limit=GROUP_SIZE)
            if not keys:
                await self._enter(audit, "ask")
                return
            heads = await call_each(self._blobs.head, keys)
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
        """Ask the registry about objects that no event has named. Emits: ObjectUnclaimed."""
        for _ in range(SLICE_GROUPS):
            await self._require_bucket(stop)
            async with transaction(self._pool) as tx:
                recorded = await unclaimed.recorded(tx, audit=audit.audit, after=audit.cursor_key, limit=GROUP_SIZE)
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
        """Delete rows that no event can need any more, and end the pass. Emits: ObjectAudited."""
        for _ in range(SLICE_GROUPS):
            if stop.is_set():
                raise Interrupted
            async with transaction(self._pool) as tx:
                forgotten = max(
                    await retention.OBJECTS.forget_some(tx, self._config.forget_after_s, FORGOTTEN_AT_ONCE),
                    await retention.PURGES.forget_some(tx, self._config.forget_after_s, FORGOTTEN_AT_ONCE),
                    await retention.HOLDERS.forget_some(tx, self._config.forget_after_s, FORGOTTEN_AT_ONCE),
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
                unclaimed_bytes=audit.unclaimed_bytes,
                missing_bytes=audit.missing_bytes,
                cold_objects=audit.cold_objects,
                cold_bytes=audit.cold_bytes,
                leftovers=audit.leftovers,
                leftover_bytes=audit.leftover_bytes,
                misplaced=audit.misplaced,
                expiring=audit.expiring,
                expiring_bytes=audit.expiring_bytes,
                at=datetime.now(UTC),
            )
            if not await audits.finish(tx, audit.fence, next_in_s=self._config.reconcile_interval_s):
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
        """Raises: Interrupted if the process is stopping, or the bucket is not this installation's any more."""
        if stop.is_set():
            raise Interrupted
        if await self._ownership.stopped() is not None:
            async with transaction(self._pool) as tx:
                await audits.request(tx)  # its beginning finds out why, and records it
            raise Interrupted

    async def _advance(self, tx: Tx, audit: Audit, cursor_key: str) -> Audit:
        """Record the cursor and renew the lease. Raises: Interrupted if another process has taken over."""
        advanced = await audits.advance(tx, audit.fence, cursor_key, self._config.lease_s, Counts())
        if advanced is None:
            raise Interrupted
        return advanced

    async def _enter(
        self, audit: Audit, phase: Phase, *, delay_s: float = 0, stopped: str | None = None, whole: bool = False
    ) -> None:
        async with connection(self._pool) as tx:
            await audits.enter(tx, audit.fence, phase, delay_s=delay_s, stopped=stopped, whole=whole)

    async def _pause(self, audit: Audit, delay_s: float) -> None:
        async with connection(self._pool) as tx:
            await audits.put_back(tx, audit.fence, delay_s=delay_s)


def _by_project(
    kind: type[ObjectMissing] | type[ObjectFound] | type[ObjectUnclaimed],
    found: Iterable[MissingObject] | Iterable[Unclaimed],
) -> list[Event]:
    """One event for each project."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for each_one in found:
        keys[each_one.project_id].append(each_one.key)
    now = datetime.now(UTC)
    return [kind(project_id=project_id, keys=sorted(keys), at=now) for project_id, keys in keys.items()]
