"""What is left of projects that are being deleted goes, a batch in each transaction."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from libs.contracts import ObjectDropped, ProjectDeleted, id_of
from libs.db import Pool, Tx, transaction
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.deadlines import PAUSES
from services.gateway.deletions import store
from services.gateway.models.store import deletion as deleted_models
from services.gateway.models.sweepers import erase_deleted
from services.gateway.uploads import transitions as upload_transitions
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import pruning, uploads

UPLOADS_AT_ONCE: Final = 20  # in one transaction
MODELS_AT_ONCE: Final = 200
OBJECTS_AT_ONCE: Final = 500
ROWS_AT_ONCE: Final = 1000
BATCHES: Final = 50  # of each kind in one sweep; what is more waits for the next one, and others have their turn

Step = Callable[[Tx], Awaitable[int]]

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over all projects that are being deleted."""
    async with transaction(pool) as tx:
        project_ids = await store.under_way(tx)
    for project_id in project_ids:
        await empty(pool, project_id, now)
        await ask_lifecycle(pool, project_id, now)
        await remove_rows(pool, project_id)


async def empty(pool: Pool, project_id: str, now: datetime) -> None:
    """Abort the uploads of a project and erase its models, also those that could still be restored.

    Emits: UploadAborted; ModelErased; ObjectDropped.
    """

    async def abort_uploads(tx: Tx) -> int:
        found = await store.live_uploads(tx, project_id, UPLOADS_AT_ONCE)
        for upload_id in found:
            upload = await uploads.lock(tx, upload_id)
            if upload.status in LIVE:
                await emit(tx, await upload_transitions.abort(tx, upload, at=now))
                await store.purge_again(tx, project_id)
        return len(found)

    async def expire_models(tx: Tx) -> int:
        return await deleted_models.expire_all_of(tx, project_id, now, MODELS_AT_ONCE)

    async def drop_objects(tx: Tx) -> int:
        keys = await store.unused_objects(tx, project_id, OBJECTS_AT_ONCE)
        if keys:
            await emit(tx, [ObjectDropped(project_id=project_id, keys=keys, reason="project_deleted", at=now)])
            await store.purge_again(tx, project_id)
        return len(keys)

    await _in_batches(pool, abort_uploads, UPLOADS_AT_ONCE)
    await _in_batches(pool, expire_models, MODELS_AT_ONCE)
    await erase_deleted(pool, now)
    await _in_batches(pool, drop_objects, OBJECTS_AT_ONCE)


async def ask_lifecycle(pool: Pool, project_id: str, now: datetime) -> None:
    """Say that the registry has nothing of the project any more, until lifecycle answers.

    The event's id is made from the project and the question's number, so that the same question asked twice is one.
    Emits: ProjectDeleted.
    """
    async with transaction(pool) as tx:
        asks = await store.ask(tx, project_id, now, PAUSES)
        if asks is not None:
            log.info("project to be removed from storage", extra={"project_id": project_id, "asks": asks})
            event_id = id_of("project.deleted", project_id, asks)
            await emit(tx, [ProjectDeleted(id=event_id, project_id=project_id, at=now)])


async def remove_rows(pool: Pool, project_id: str) -> None:
    """Once storage has nothing of the project: remove every row of it but its own, and say when that was done."""
    async with transaction(pool) as tx:
        if not await store.is_purged(tx, project_id):
            return

    async def remove_uploads(tx: Tx) -> int:
        ended = await store.ended_uploads(tx, project_id, UPLOADS_AT_ONCE)
        await pruning.delete_parts(tx, ended)
        await store.delete_streams(tx, ended)
        await pruning.delete_files(tx, ended)
        await pruning.delete(tx, ended)
        return len(ended)

    done = await _in_batches(pool, remove_uploads, UPLOADS_AT_ONCE)
    async with transaction(pool) as tx:
        await store.delete_windows(tx, project_id)
    for table in store.TABLES:

        async def remove(tx: Tx, table: str = table) -> int:
            return await store.delete_rows(tx, table, project_id, ROWS_AT_ONCE)

        done = await _in_batches(pool, remove, ROWS_AT_ONCE) and done
    if done:
        async with transaction(pool) as tx:
            if await store.end(tx, project_id):
                log.info("project deleted", extra={"project_id": project_id})


async def _in_batches(pool: Pool, step: Step, size: int) -> bool:
    """Repeat `step`, each in a transaction, until it finds fewer than `size`. Returns False if there may be more."""
    for _ in range(BATCHES):
        async with transaction(pool) as tx:
            if await step(tx) < size:
                return True
    return False
