"""Puts the extractor together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.blobs import Blobs
from libs.db import Pool, transaction
from libs.service import Service, spine
from services.extractor import store
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import handlers
from services.extractor.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0


async def build(config: ExtractorConfig, service: Service) -> None:
    """Events become rows, rows become work."""
    blobs = await service.enter(Blobs.open(config.s3_url))
    shared = await spine(service, MIGRATIONS, handlers)
    worker = Worker(config, pool=shared.pool, blobs=blobs, signals=shared.signals)
    service.background("extractions", worker.run)
    service.repeat("forget", FORGET_EVERY_S, partial(_forget, shared.pool, config.forget_after_s))
    service.ready("s3", blobs.ping, required=False)  # until it is back, extractions are put off


async def _forget(pool: Pool, older_than_s: float) -> None:
    async with transaction(pool) as tx:
        await store.forget(tx, older_than_s)
