"""Puts the validator together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.blobs import Blobs
from libs.bus import Consumer
from libs.db import Pool, transaction
from libs.service import Service, spine
from services.validator import store
from services.validator.config import ValidatorConfig
from services.validator.handlers import Tools, handlers
from services.validator.reading import ModelReader

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0


async def build(config: ValidatorConfig, service: Service) -> None:
    """One consumer, whose slow part reads from storage."""
    blobs = await service.enter(Blobs.open(config.s3_url))
    shared = await spine(service, MIGRATIONS)
    tools = Tools(shared.pool, ModelReader(blobs, config.max_fetches))
    consumer = Consumer(shared.bus, shared.pool, handlers, tools, concurrency=config.max_validations)
    service.background("consumer", consumer.run)
    service.repeat("forget", FORGET_EVERY_S, partial(_forget, shared.pool, config.forget_after_s))
    service.ready("s3", blobs.ping, required=False)  # until it is back, requests are put back


async def _forget(pool: Pool, older_than_s: float) -> None:
    async with transaction(pool) as tx:
        await store.forget(tx, older_than_s)
