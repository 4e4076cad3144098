"""Puts the extractor together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.blobs import Blobs
from libs.db import Pool, transaction
from libs.service import Service, every, spine
from services.extractor import store
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import handlers
from services.extractor.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
PRUNE_EVERY_S = 3600.0
KEEP_DAYS = 30  # results, to be told again; longer than the broker keeps any event


async def build(config: ExtractorConfig, service: Service) -> None:
    """Events become rows, rows become work."""
    base = await spine(service, config, "extractor", MIGRATIONS, handlers)
    blobs = await service.enter(Blobs.open(config.s3_url))
    worker = Worker(config, pool=base.pool, blobs=blobs, signals=base.signals)
    service.background("extractions", worker.run)
    service.background("prune", partial(every, interval_s=PRUNE_EVERY_S, work=partial(_prune, base.pool), name="prune"))
    service.ready("s3", blobs.ping, required=False)  # until it is back, extractions are put off


async def _prune(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await store.prune(tx, KEEP_DAYS)
