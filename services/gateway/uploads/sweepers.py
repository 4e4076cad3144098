"""Deadlines of uploads: what waits too long is asked for again, or ended."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from libs.contracts import findings
from libs.db import Pool, transaction
from libs.errors import ProcessingFailed
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.deadlines import PAUSES
from services.gateway.uploads import transitions
from services.gateway.uploads.deadlines import IDEMPOTENCY_KEY_KEPT, in_words, lifetime
from services.gateway.uploads.store import deadlines, idempotency_keys, pruning, streams, uploads
from services.gateway.uploads.store.expiry import Lifetime

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over all uploads."""
    await expire_uploads(pool, now, lifetime(config))
    await give_up_uploads(pool, now, timedelta(seconds=config.give_up_after_s))
    await prune_uploads(pool, now, timedelta(seconds=config.retain_ended_s))
    await ask_extractor_again(pool, now, timedelta(seconds=config.stale_after_s))


async def expire_uploads(pool: Pool, now: datetime, lifetime: Lifetime) -> None:
    """open -> expired, past `expires_at`. Emits: UploadExpired."""
    async with transaction(pool) as tx:
        for upload in await uploads.expired(tx, now):
            log.info("upload expired", extra={"upload_id": upload.id})
            await emit(tx, await transitions.expire(tx, upload, lifetime, at=now))


async def give_up_uploads(pool: Pool, now: datetime, longest: timedelta) -> None:
    """processing -> failed, after `longest`, for the reason that it has been waiting for. Emits: UploadFailed."""
    async with transaction(pool) as tx:
        for upload in await uploads.stuck(tx, now - longest):
            log.warning("upload could not be processed", extra={"upload_id": upload.id})
            waiting = [stream.waiting_for for stream in await streams.of_upload(tx, upload.id) if stream.waiting_for]
            reason = waiting[0] if waiting else "The extractor did not answer."
            message = f"the upload could not be processed within {in_words(longest)}. {reason}"
            fix = "Upload the model again once the operator of this installation has repaired that."
            finding = findings.error("processing-timeout", message, fix)
            await emit(tx, await transitions.fail(tx, upload, finding, code=ProcessingFailed.code, at=now))


async def prune_uploads(pool: Pool, now: datetime, retain: timedelta) -> None:
    """Remove the parts and files of uploads that ended long ago, some at a time, and old Idempotency-Keys.

    An upload whose model is gone goes too; another one goes with its model.
    """
    async with transaction(pool) as tx:
        await idempotency_keys.prune(tx, now - IDEMPOTENCY_KEY_KEPT)
        ended = await pruning.ended_before(tx, now - retain)
        if not ended:
            return
        await pruning.delete_parts(tx, ended)
        await pruning.delete_streams_of_files(tx, ended)
        await pruning.delete_files(tx, ended)
        await pruning.mark(tx, ended)
        await pruning.delete(tx, await pruning.without_model(tx, ended))
    log.info("removed the parts and files of ended uploads", extra={"uploads": len(ended)})


async def ask_extractor_again(pool: Pool, now: datetime, stale_after: timedelta) -> None:
    """Ask again about streams on which a report was due more than `stale_after` ago.

    Emits: UploadOpened, with all parts that are known.
    """
    async with transaction(pool) as tx:
        for overdue in await deadlines.overdue(tx, now - stale_after, PAUSES):
            log.info("asking again for a waiting stream", extra={"stream_id": overdue.stream.id, "asks": overdue.asks})
            await emit(tx, await transitions.ask_again(tx, overdue, at=now))
