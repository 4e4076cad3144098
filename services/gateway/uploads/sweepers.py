"""Deadlines of uploads: what waits too long is asked for again, or ended."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.uploads import session
from services.gateway.uploads.lifetimes import lifetime
from services.gateway.uploads.opening import OPENING_KEPT
from services.gateway.uploads.store import deadlines, openings, sessions
from services.gateway.uploads.store.expiry import Lifetime

# Between two asks for the same stream; the last one repeats.
PAUSES = tuple(timedelta(seconds=pause_s) for pause_s in (30, 60, 120, 300, 600, 1800))

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over all uploads."""
    await expire_sessions(pool, now, lifetime(config))
    await end_stuck_sessions(pool, now, timedelta(seconds=config.give_up_after_s))
    await forget_ended_sessions(pool, now, timedelta(seconds=config.retain_ended_s))
    await ask_extractor_again(pool, now)


async def expire_sessions(pool: Pool, now: datetime, lifetime: Lifetime) -> None:
    """open -> expired, past `expires_at`. Emits: UploadExpired."""
    async with transaction(pool) as tx:
        for upload in await sessions.expired(tx, now):
            log.info("upload expired", extra={"upload_id": upload.id})
            await emit(tx, await session.expire(tx, upload, lifetime, at=now))


async def end_stuck_sessions(pool: Pool, now: datetime, longest: timedelta) -> None:
    """processing -> failed, after `longest`, for the reason that it has been waiting for. Emits: UploadFailed."""
    async with transaction(pool) as tx:
        for upload in await sessions.stuck(tx, now - longest):
            log.warning("upload could not be processed", extra={"upload_id": upload.id})
            await emit(tx, await session.end_processing(tx, upload, longest, at=now))


async def forget_ended_sessions(pool: Pool, now: datetime, retain: timedelta) -> None:
    """The rows of parts and files of sessions that ended long ago go, some at a time, and old Idempotency-Keys."""
    async with transaction(pool) as tx:
        await openings.prune(tx, now - OPENING_KEPT)
        forgotten = await sessions.prune(tx, now - retain)
    if forgotten:
        log.info("forgot parts and files of ended uploads", extra={"uploads": forgotten})


async def ask_extractor_again(pool: Pool, now: datetime) -> None:
    """Streams with parts that no extractor has reported on. Emits: UploadOpened, with all that is known."""
    async with transaction(pool) as tx:
        for overdue in await deadlines.overdue(tx, now, PAUSES):
            log.info("asking again for a waiting stream", extra={"stream_id": overdue.stream.id, "asks": overdue.asks})
            await emit(tx, [await session.opened(tx, overdue, at=now)])
