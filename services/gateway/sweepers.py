"""Deadlines: whatever waits too long is asked for again, or ended. Postgres is the truth, events are the hurry."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from libs.contracts import Event, ModelValidationRequested
from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.uploads import session
from services.gateway.uploads.store import sessions, streams

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig) -> None:
    """One round: expire sessions, and tell again of streams and models that wait beyond their deadline."""
    now = datetime.now(UTC)
    await expire_sessions(pool, now)
    await tell_streams_again(pool, now, now + timedelta(seconds=config.stale_after_s))
    await ask_verdicts_again(pool, now, now + timedelta(seconds=config.stale_after_s))


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


async def ask_verdicts_again(pool: Pool, now: datetime, next_deadline: datetime) -> None:
    """Models without a verdict. Emits: ModelValidationRequested, with the same validation id."""
    async with transaction(pool) as tx:
        again: list[Event] = []
        for model in await models.overdue(tx, now, next_deadline):
            log.info("asking for a verdict again", extra={"model_id": model.id})
            again.append(
                ModelValidationRequested(
                    model_id=model.id,
                    project_id=model.project_id,
                    validation_id=model.validation_id or "",
                    files=await model_files.of_model(tx, model.id),
                    at=now,
                )
            )
        await emit(tx, again)
