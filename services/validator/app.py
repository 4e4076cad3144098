"""Puts the validator together; the only place that creates clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from libs.db import Pool, Tx, transaction
from libs.service import Service, connect, open_blobs
from services.validator import store
from services.validator.config import ValidatorConfig
from services.validator.dependencies import Dependencies
from services.validator.handlers import handlers
from services.validator.reader import ModelReader
from services.validator.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0
FORGET_BATCH = 1_000


async def build(config: ValidatorConfig, service: Service) -> None:
    """Handlers that record requests as rows, and a worker that turns rows into verdicts."""
    blobs = await service.enter(open_blobs(config))
    connections = await connect(service, MIGRATIONS, handlers)
    reader = ModelReader(blobs, config.max_fetches)
    dependencies = Dependencies(config, connections.pool, connections.signals, reader)
    service.background("validations", Worker(dependencies).run)
    service.repeat("forget", FORGET_EVERY_S, partial(forget, connections.pool, config))
    service.ready("s3", blobs.ping, required=False)  # validations are postponed until it is back


async def forget(pool: Pool, config: ValidatorConfig) -> None:
    """Remove what is too old to be asked about, a batch at a time."""
    await _in_batches(pool, store.forget_verdicts, config.forget_after_s)
    await _in_batches(pool, store.forget_validations, config.forget_after_s)
    await _in_batches(pool, store.forget_facts, config.forget_pieces_after_s)


async def _in_batches(pool: Pool, statement: Callable[[Tx, float, int], Awaitable[int]], older_than_s: float) -> None:
    removed = FORGET_BATCH
    while removed == FORGET_BATCH:
        async with transaction(pool) as tx:
            removed = await statement(tx, older_than_s, FORGET_BATCH)
