"""Deadlines of uploads: what waits too long is asked for again, or ended."""

from __future__ import annotations

import logging
from datetime import datetime

from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.uploads import session
from services.gateway.uploads.store import sessions, streams

log = logging.getLogger(__name__)


async def expire_sessions(pool: Pool, now: datetime) -> None:
    """open -> expired, past `expires_at`. Emits: UploadExpired."""
    async with transaction(pool) as tx:
        for upload in await sessions.expired(tx, now):
            log.info("upload expired", extra={"upload_id": upload.id})
            await emit(tx, await session.expire(tx, upload, at=now))


async def tell_streams_again(pool: Pool, now: datetime, next_deadline: datetime) -> None:
    """Streams with parts that no extractor has reported on. Emits: UploadOpened, with all that is known."""
    async with transaction(pool) as tx:
        for stream in await streams.overdue(tx, now, next_deadline):
            log.info("telling of a waiting stream again", extra={"stream_id": stream.id})
            await emit(tx, [await session.opened(tx, stream, at=now)])
