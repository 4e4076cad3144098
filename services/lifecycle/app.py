"""Puts lifecycle together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.blobs import Blobs
from libs.db import Pool, connection
from libs.service import Service, spine
from services.lifecycle import metrics
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import handlers
from services.lifecycle.purging import PurgeWorker
from services.lifecycle.reconciling import Reconciler
from services.lifecycle.store import objects, purges

MIGRATIONS = Path(__file__).parent / "migrations"
GAUGES_EVERY_S = 5.0


async def build(config: LifecycleConfig, service: Service) -> None:
    """Handlers that write down what is to go, workers that delete it, and the hourly comparison with storage."""
    blobs = await service.enter(Blobs.open(config.s3_url))
    shared = await spine(service, MIGRATIONS, handlers)
    for number in range(config.purge_workers):
        worker = PurgeWorker(shared.pool, blobs, shared.signals, config)
        service.background(f"purge worker {number}", worker.run)
    service.background("reconciler", Reconciler(shared.pool, blobs, shared.signals, config).run)
    service.repeat("gauges", GAUGES_EVERY_S, partial(_show, shared.pool))
    service.ready("s3", blobs.ping, required=False)  # until it is back, what is to go is only written down


async def _show(pool: Pool) -> None:
    async with connection(pool) as tx:
        metrics.purges_pending.set(await purges.pending(tx))
        metrics.objects_missing.set(await objects.count_missing(tx))
