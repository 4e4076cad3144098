"""Puts the validator together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.db import Pool, transaction
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
REMOVED_AT_ONCE = 500  # rows in one transaction
DELETED_FOR_S = 8 * 86_400.0  # longer than events are kept: what comes late of a deleted project is removed too
REMOVE_EVERY_S = 60.0


async def build(config: ValidatorConfig, service: Service) -> None:
    """Handlers that record requests as rows, and a worker that turns rows into verdicts."""
    blobs = await service.enter(open_blobs(config))
    connections = await connect(service, MIGRATIONS, handlers)
    reader = ModelReader(blobs, config.max_fetches)
    dependencies = Dependencies(config, connections.pool, connections.signals, reader)
    service.background("validations", Worker(dependencies).run)
    service.repeat("forget", FORGET_EVERY_S, partial(forget_old, connections.pool, config))
    service.repeat("deleted projects", REMOVE_EVERY_S, partial(remove_deleted, connections.pool))
    service.ready("s3", blobs.ping, required=False)  # validations are postponed until it is back


async def forget_old(pool: Pool, config: ValidatorConfig) -> None:
    """Delete rows that are older than the settings keep them."""
    await forget(pool, store.VERDICTS, config.forget_after_s)
    await forget(pool, store.VALIDATIONS, config.forget_after_s)
    await forget(pool, store.FACTS, config.forget_pieces_after_s)


async def remove_deleted(pool: Pool) -> None:
    """Remove the rows of deleted projects, a batch in each transaction."""
    async with transaction(pool) as tx:
        project_ids = await store.deleted_projects(tx)
    for project_id in project_ids:
        for table in store.OF_PROJECTS:
            removed = REMOVED_AT_ONCE
            while removed == REMOVED_AT_ONCE:
                async with transaction(pool) as tx:
                    removed = await store.remove_rows(tx, table, project_id, REMOVED_AT_ONCE)
    await forget(pool, store.PROJECTS, DELETED_FOR_S)
