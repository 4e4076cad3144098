"""Deadlines: whatever waits too long is asked for again, or ended. Postgres is the truth, events are the hurry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from libs.db import Pool
from services.gateway.config import GatewayConfig
from services.gateway.models.sweepers import ask_verdicts_again, give_verdicts_up
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.sweepers import (
    ask_extractor_again,
    expire_uploads,
    give_up_uploads,
    prune_uploads,
)


async def sweep(pool: Pool, config: GatewayConfig) -> None:
    """One round: expire sessions, ask again for what waits beyond its deadline, and end what has waited for days."""
    now = datetime.now(UTC)
    give_up_after = timedelta(seconds=config.give_up_after_s)
    await expire_uploads(pool, now, lifetime(config))
    await give_up_uploads(pool, now, give_up_after)
    await prune_uploads(pool, now, timedelta(seconds=config.retain_ended_s))
    await ask_extractor_again(pool, now)
    await ask_verdicts_again(pool, now)
    await give_verdicts_up(pool, now, give_up_after)
