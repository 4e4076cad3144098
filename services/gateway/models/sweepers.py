"""Deadlines of models: a verdict that does not come is asked for again, and in the end given up."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.models import registration

ASKED_AT_ONCE = 20  # models in one transaction: each question has all files of its model

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over all models."""
    await ask_verdicts_again(pool, now, timedelta(seconds=config.stale_after_s))
    await give_verdicts_up(pool, now, timedelta(seconds=config.give_up_after_s))


async def ask_verdicts_again(pool: Pool, now: datetime, stale_after: timedelta) -> None:
    """Ask again for each verdict that was due more than `stale_after` ago. Emits: ModelValidationRequested."""
    more = True
    while more:
        async with transaction(pool) as tx:
            questions = await registration.ask_again(tx, now - stale_after, ASKED_AT_ONCE, at=now)
            await emit(tx, questions)
        more = len(questions) == ASKED_AT_ONCE


async def give_verdicts_up(pool: Pool, now: datetime, after: timedelta) -> None:
    """GIVE_UP models that have waited for a verdict longer than `after`, for the last reason that was recorded."""
    async with transaction(pool) as tx:
        for model_id in await registration.give_up(tx, now, after):
            log.error("no verdict, given up", extra={"model_id": model_id})
