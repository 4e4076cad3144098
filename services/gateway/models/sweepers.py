"""Deadlines of models: a verdict that does not come is asked for again, and in the end given up."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from libs.contracts import Event
from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.models import validation
from services.gateway.models.store import verdicts

BATCH = 20  # models in one transaction: each question carries all files of its model

log = logging.getLogger(__name__)


async def ask_verdicts_again(pool: Pool, now: datetime) -> None:
    """Models without a verdict past their deadline. Emits: ModelValidationRequested, with the same validation id."""
    more = True
    while more:
        async with transaction(pool) as tx:
            waiting = await verdicts.overdue(tx, now, validation.PAUSES, BATCH)
            again: list[Event] = []
            for model in waiting:
                log.info("asking for a verdict again", extra={"model_id": model.id, "asked": model.asked})
                again.append(await validation.ask_again(tx, model, at=now))
            await emit(tx, again)
        more = len(waiting) == BATCH


async def give_verdicts_up(pool: Pool, now: datetime, after: timedelta) -> None:
    """Models that have waited for a verdict longer than `after`: in error, for the last reason that was told."""
    async with transaction(pool) as tx:
        for model_id in await validation.give_up(tx, now, after):
            log.error("no verdict, given up", extra={"model_id": model_id})
