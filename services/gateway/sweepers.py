"""Deadlines: whatever waits too long is asked for again, or ended. Postgres is the truth, events are the hurry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from libs.db import Pool
from services.gateway.config import GatewayConfig
from services.gateway.models.sweepers import ask_verdicts_again, give_verdicts_up
from services.gateway.uploads.sweepers import expire_sessions, tell_streams_again


async def sweep(pool: Pool, config: GatewayConfig) -> None:
    """One round: expire sessions, ask again for what waits beyond its deadline, and end what has waited for days."""
    now = datetime.now(UTC)
    next_deadline = now + timedelta(seconds=config.stale_after_s)
    await expire_sessions(pool, now)
    await tell_streams_again(pool, now, next_deadline)
    await ask_verdicts_again(pool, now)
    await give_verdicts_up(pool, now, timedelta(seconds=config.give_up_after_s))
