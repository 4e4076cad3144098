"""Puts the validator together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.db import Pool
from libs.retention import forget
from libs.service import Service, connect, open_blobs
from services.validator import store
from services.validator.config import ValidatorConfig
from services.validator.dependencies import Dependencies
from services.validator.handlers import handlers
from services.validator.reader import ModelReader
from services.validator.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0


async def build(config: ValidatorConfig, service: Service) -> None:
    """Handlers that record requests as rows, and a worker that turns rows into verdicts."""
    blobs = await service.enter(open_blobs(config))
    connections = await connect(service, MIGRATIONS, handlers)
    reader = ModelReader(blobs, config.max_fetches)
    dependencies = Dependencies(config, connections.pool, connections.signals, reader)
    service.background("validations", Worker(dependencies).run)
    service.repeat("forget", FORGET_EVERY_S, partial(forget_old, connections.pool, config))
    service.ready("s3", blobs.ping, required=False)  # validations are postponed until it is back


async def forget_old(pool: Pool, config: ValidatorConfig) -> None:
    """Delete rows that are older than the settings keep them."""
    await forget(pool, store.VERDICTS, config.forget_after_s)
    await forget(pool, store.VALIDATIONS, config.forget_after_s)
    await forget(pool, store.FACTS, config.forget_pieces_after_s)
