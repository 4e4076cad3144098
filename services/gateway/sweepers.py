"""Deadlines: whatever waits too long is asked for again, or ended. Postgres is the truth, events are the hurry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from libs.db import Pool
from services.gateway.config import GatewayConfig
from services.gateway.models.sweepers import ask_verdicts_again
from services.gateway.uploads.lifetimes import lifetime
from services.gateway.uploads.sweepers import (
    ask_extractor_again,
    end_stuck_sessions,
    expire_sessions,
    forget_ended_sessions,
)


async def sweep(pool: Pool, config: GatewayConfig) -> None:
    """One round: expire sessions, and tell again of streams and models that wait beyond their deadline."""
    now = datetime.now(UTC)
    next_deadline = now + timedelta(seconds=config.stale_after_s)
    await expire_sessions(pool, now, lifetime(config))
    await end_stuck_sessions(pool, now, timedelta(seconds=config.processing_max_s))
    await forget_ended_sessions(pool, now, timedelta(seconds=config.retain_ended_s))
    await ask_extractor_again(pool, now)
    await ask_verdicts_again(pool, now, next_deadline)
