"""Puts the extractor together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.config import schema_name
from libs.db import Pool, open_pool, transaction
from libs.service import Service, connect, open_blobs
from services.extractor import store
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import handlers
from services.extractor.progress import progress
from services.extractor.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0
FORGET_AT_ONCE = 500


async def build(config: ExtractorConfig, service: Service) -> None:
    """Events become rows, rows become work."""
    blobs = await service.enter(open_blobs(config))
    shared = await connect(service, MIGRATIONS, handlers)
    schema = schema_name(config.namespace, service.name)
    lease_pool = await service.enter(await open_pool(config.database_url, schema, size=1))
    worker = Worker(config, pool=shared.pool, lease_pool=lease_pool, blobs=blobs, signals=shared.signals)
    service.background("extractions", worker.run)
    service.repeat("progress", config.progress_every_s, partial(progress.tell, shared.bus))
    service.repeat("forget", FORGET_EVERY_S, partial(_forget, shared.pool, config.forget_after_s))
    service.ready("s3", blobs.ping, required=False)  # until it is back, extractions are put off


async def _forget(pool: Pool, older_than_s: float) -> None:
    """Remove the rows of what ended so long ago, some at a time, so that no transaction is long."""
    for forget in (store.forget, store.forget_uploads):
        forgotten = FORGET_AT_ONCE
        while forgotten == FORGET_AT_ONCE:
            async with transaction(pool) as tx:
                forgotten = await forget(tx, older_than_s, FORGET_AT_ONCE)
