"""Puts lifecycle together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.db import Pool, connection
from libs.reads import SUBJECT
from libs.service import Service, connect, open_blobs
from services.lifecycle import metrics
from services.lifecycle.audit_worker import AuditWorker
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.dependencies import Dependencies
from services.lifecycle.handlers import handlers
from services.lifecycle.move_worker import MoveWorker
from services.lifecycle.ownership import Ownership
from services.lifecycle.purge_worker import PurgeWorker
from services.lifecycle.reads import WRITE_EVERY_S, ReadObjects
from services.lifecycle.store import audits, moves, objects, purges

MIGRATIONS = Path(__file__).parent / "migrations"
GAUGES_EVERY_S = 5.0


async def build(config: LifecycleConfig, service: Service) -> None:
    """Handlers that record what is to be deleted, workers that delete it, and the hourly audit of storage."""
    blobs = await service.enter(open_blobs(config))
    connections = await connect(service, MIGRATIONS, handlers)
    pool = connections.pool
    ownership = Ownership(pool, blobs, config.namespace, config.installation_check_s)
    dependencies = Dependencies(config, pool, blobs, connections.signals, ownership)
    for number in range(config.purge_workers):
        service.background(f"purge worker {number}", PurgeWorker(dependencies).run)
    service.background("audits", AuditWorker(dependencies).run)
    if (cold := blobs.tiers.get("cold")) is not None:
        for number in range(config.move_workers):
            service.background(f"move worker {number}", MoveWorker(dependencies).run)
        reads = ReadObjects(pool, config)
        await service.enter(connections.bus.listen(SUBJECT, reads.receive, group="lifecycle"))
        service.repeat("reads", WRITE_EVERY_S, reads.write)
        service.ready("s3 cold tier", cold.ping, required=False)  # until it is back, nothing is moved
    service.repeat("gauges", GAUGES_EVERY_S, partial(_set_gauges, pool))
    service.ready("s3", blobs.ping, required=False)  # until it is back, deletions are only recorded
    service.ready("bucket", ownership.holds, required=False)  # of another installation: nothing is deleted


async def _set_gauges(pool: Pool) -> None:
    async with connection(pool) as tx:
        metrics.purges_pending.set(await purges.pending(tx, limit=10_000))
        metrics.objects_missing.set(await objects.count_missing(tx, limit=100_000))
        metrics.moves_pending.set(await moves.pending(tx, limit=10_000))
        audit = await audits.last(tx)
    if audit is not None:
        metrics.objects_stored.labels("hot").set(audit.objects - audit.cold_objects)
        metrics.objects_stored_bytes.labels("hot").set(audit.size_bytes - audit.cold_bytes)
        metrics.objects_stored.labels("cold").set(audit.cold_objects)
        metrics.objects_stored_bytes.labels("cold").set(audit.cold_bytes)
        metrics.objects_leftover.set(audit.leftovers)
        metrics.objects_misplaced.set(audit.misplaced)
        metrics.objects_unclaimed_bytes.set(audit.unclaimed_bytes)
        metrics.objects_missing_bytes.set(audit.missing_bytes)
        metrics.objects_unclaimed.set(audit.unclaimed)
        metrics.objects_foreign.set(audit.foreign_objects)
        metrics.audit_stopped.set(audit.stopped is not None)
