"""Objects in storage to which nothing refers: dropped, for lifecycle to delete them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from libs.contracts import ObjectDropped
from libs.db import transaction
from libs.errors import SlipwayError, Unavailable
from libs.outbox import emit
from services.gateway.dependencies import Dependencies
from services.gateway.uploads.store import transfers
from services.gateway.uploads.store.transfers import Transfer
from services.gateway.uploads.store.uploads import Upload

log = logging.getLogger(__name__)


def dropped(upload: Upload, key: str, reason: str) -> ObjectDropped:
    """The event that nothing refers to the object `key`."""
    return ObjectDropped(project_id=upload.project_id, keys=[key], reason=reason, at=datetime.now(UTC))


async def drop(dependencies: Dependencies, upload: Upload, key: str, *, reason: str) -> None:
    """Nothing refers to the object. Emits: ObjectDropped."""
    async with transaction(dependencies.pool) as tx:
        await emit(tx, [dropped(upload, key, reason)])


@asynccontextmanager
async def dropped_if_refused(dependencies: Dependencies, upload: Upload, key: str) -> AsyncIterator[None]:
    """Drop the object `key` if the block, which records it, refuses it. Emits: ObjectDropped.

    After any other error it may be recorded all the same (a connection can break between a commit and its
    acknowledgement), so it stays, and goes with its upload if nothing refers to it then.
    """
    try:
        yield
    except Unavailable:
        raise
    except SlipwayError as error:
        await drop(dependencies, upload, key, reason=error.code)
        raise


async def discard(dependencies: Dependencies, upload: Upload, transfer: Transfer, *, reason: str) -> None:
    """Forget what is held of a file; the store forgets it too, now or when the upload ends. Emits: ObjectDropped."""
    async with transaction(dependencies.pool) as tx:
        forgotten = await transfers.discard(tx, transfer)
        if forgotten and transfer.tail_key is not None:
            await emit(tx, [dropped(upload, transfer.tail_key, reason)])
    dependencies.digests.forget(transfer.key)
    if not forgotten or transfer.multipart_id is None:
        return
    try:
        await dependencies.blobs.abort_multipart(transfer.key, transfer.multipart_id)
    except Unavailable as error:
        log.warning("a multipart upload stays until its upload ends: %s", error, extra={"upload_id": upload.id})
