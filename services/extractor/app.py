"""Puts the extractor together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.config import schema_name
from libs.db import Pool, open_pool
from libs.retention import forget
from libs.service import Service, connect, open_blobs
from services.extractor.config import ExtractorConfig
from services.extractor.dependencies import Dependencies
from services.extractor.handlers import handlers
from services.extractor.progress import progress
from services.extractor.store import retention
from services.extractor.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0


async def build(config: ExtractorConfig, service: Service) -> None:
    """Handlers that record streams and parts, and a worker that unpacks them."""
    blobs = await service.enter(open_blobs(config))
    connections = await connect(service, MIGRATIONS, handlers)
    schema = schema_name(config.namespace, service.name)
    lease_pool = await service.enter(await open_pool(config.database_url, schema, size=1))
    dependencies = Dependencies(config, connections.pool, lease_pool, blobs, connections.signals)
    service.background("extractions", Worker(dependencies).run)
    service.repeat("progress", config.progress_every_s, partial(progress.publish, connections.bus))
    service.repeat("forget", FORGET_EVERY_S, partial(forget_old, connections.pool, config.forget_after_s))
    service.ready("s3", blobs.ping, required=False)  # extractions are postponed until it is back


async def forget_old(pool: Pool, older_than_s: float) -> None:
    """Delete the rows of extractions and uploads that ended so long ago."""
    await forget(pool, retention.EXTRACTIONS, older_than_s)
    await forget(pool, retention.ENDED_UPLOADS, older_than_s)
