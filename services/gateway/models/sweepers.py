"""Deadlines of models: verdicts that do not come are asked for again, and given up; deleted models are erased."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from libs.contracts import Event
from libs.db import Pool, Tx, transaction
from libs.outbox import emit
from services.gateway.config import GatewayConfig
from services.gateway.models import deletion, registration

ASKED_AT_ONCE = 20  # models in one transaction: each question has all files of its model
ERASED_AT_ONCE = 20  # models in one transaction, with all their files
BATCHES_AT_ONCE = 50  # such transactions in one round

log = logging.getLogger(__name__)


async def sweep(pool: Pool, config: GatewayConfig, now: datetime) -> None:
    """One round over all models."""
    await ask_verdicts_again(pool, now, timedelta(seconds=config.stale_after_s))
    await give_verdicts_up(pool, now, timedelta(seconds=config.give_up_after_s))
    await erase_deleted(pool, now)
    await expire_failed(pool, now, timedelta(seconds=config.retain_error_s))


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


async def erase_deleted(pool: Pool, now: datetime) -> None:
    """ERASE deleted models whose time has passed. Emits: ModelErased, ObjectDropped."""

    async def erase(tx: Tx) -> tuple[int, list[Event]]:
        return await deletion.erase(tx, now, ERASED_AT_ONCE)

    await _in_batches(pool, erase)


async def expire_failed(pool: Pool, now: datetime, after: timedelta) -> None:
    """EXPIRE models that have been in error for longer than `after`. Emits: ModelErased, ObjectDropped."""

    async def expire(tx: Tx) -> tuple[int, list[Event]]:
        return await deletion.expire(tx, now - after, ERASED_AT_ONCE, at=now)

    await _in_batches(pool, expire)


async def _in_batches(pool: Pool, step: Callable[[Tx], Awaitable[tuple[int, list[Event]]]]) -> None:
    """Repeat `step`, which returns how many models were due, and events, until fewer than ERASED_AT_ONCE were.

    What is left after BATCHES_AT_ONCE waits for the next round: other deadlines do not wait for a large deletion.
    """
    for _ in range(BATCHES_AT_ONCE):
        async with transaction(pool) as tx:
            due, events = await step(tx)
            await emit(tx, events)
        if due:
            log.info("models erased", extra={"models": due})
        if due < ERASED_AT_ONCE:
            return
