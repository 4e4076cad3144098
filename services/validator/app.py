"""Puts the validator together; the only place that makes its clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.blobs import Blobs
from libs.bus import Consumer
from libs.db import Pool, transaction
from libs.service import Service, every, spine
from services.validator import store
from services.validator.config import ValidatorConfig
from services.validator.handlers import Tools, handlers
from services.validator.reading import ModelReader

MIGRATIONS = Path(__file__).parent / "migrations"
PRUNE_EVERY_S = 3600.0


async def build(config: ValidatorConfig, service: Service) -> None:
    """One consumer, whose slow part reads from storage."""
    blobs = await service.enter(Blobs.open(config.s3_url))
    base = await spine(service, config, service.name, MIGRATIONS)
    tools = Tools(base.pool, ModelReader(blobs, config.requests))
    consumer = Consumer(base.bus, base.pool, handlers, tools, concurrency=config.models)
    service.background("consumer", consumer.run)
    prune = partial(_prune, base.pool, config.forget_after_s)
    service.background("prune", partial(every, interval_s=PRUNE_EVERY_S, work=prune, name="prune"))
    service.ready("s3", blobs.ping, required=False)  # until it is back, requests are put back


async def _prune(pool: Pool, older_than_s: float) -> None:
    async with transaction(pool) as tx:
        await store.forget(tx, older_than_s)
