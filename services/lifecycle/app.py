"""Puts lifecycle together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.db import Pool, connection
from libs.service import Service, connect, open_blobs
from services.lifecycle import metrics
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import handlers
from services.lifecycle.ownership import Ownership
from services.lifecycle.purging import PurgeWorker
from services.lifecycle.reconciling import Reconciler
from services.lifecycle.store import objects, purges, reconciliation

MIGRATIONS = Path(__file__).parent / "migrations"
GAUGES_EVERY_S = 5.0


async def build(config: LifecycleConfig, service: Service) -> None:
    """Handlers that record what is to go, workers that delete it, and the hourly audit of what is stored."""
    blobs = await service.enter(open_blobs(config))
    shared = await connect(service, MIGRATIONS, handlers)
    ownership = Ownership(shared.pool, blobs, config.namespace, config.installation_check_s)
    for number in range(config.purge_workers):
        worker = PurgeWorker(shared.pool, blobs, shared.signals, ownership, config)
        service.background(f"purge worker {number}", worker.run)
    service.background("reconciler", Reconciler(shared.pool, blobs, shared.signals, ownership, config).run)
    service.repeat("gauges", GAUGES_EVERY_S, partial(_show, shared.pool))
    service.ready("s3", blobs.ping, required=False)  # until it is back, what is to go is only recorded
    service.ready("bucket", ownership.holds, required=False)  # another installation's: nothing is deleted


async def _show(pool: Pool) -> None:
    async with connection(pool) as tx:
        metrics.purges_pending.set(await purges.pending(tx, limit=10_000))
        metrics.objects_missing.set(await objects.count_missing(tx, limit=100_000))
        audit = await reconciliation.last(tx)
    if audit is not None:
        metrics.objects_unclaimed.set(audit.unclaimed)
        metrics.objects_foreign.set(audit.foreign_objects)
        metrics.audit_stopped.set(audit.stopped is not None)
