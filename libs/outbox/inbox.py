"""The receiving half: each event is applied once, in one transaction with its effects and its events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from libs.contracts import Event, event_type
from libs.db import Pool, Tx, connection, transaction
from libs.outbox import store
from libs.outbox.outbox import emit

Handler: TypeAlias = Callable[[Event, Tx], Awaitable[list[Event]]]


async def apply_once(pool: Pool, consumer: str, handler: Handler, event: Event) -> bool:
    """Apply `event` exactly once: inbox row, state change and outbox rows commit together.

    A redelivery finds its inbox row and does nothing. Whatever the handler raises rolls all three back.
    Returns False if the event had been applied before. Ack only after this returns.
    """
    async with transaction(pool) as tx:
        if not await store.first_seen(tx, consumer, event.id):
            return False
        await emit(tx, await handler(event, tx))
    return True


async def apply_idempotent(pool: Pool, handler: Handler, event: Event) -> None:
    """Apply `event` without an inbox row; a redelivery applies it again.

    Raises: RuntimeError if the handler returns events, which each redelivery would emit again.
    """
    async with transaction(pool) as tx:
        if await handler(event, tx):
            raise RuntimeError(f"{event_type(event)}: a handler without an inbox row may emit nothing")


async def seen(pool: Pool, consumer: str, event_id: str) -> bool:
    """Whether `consumer` has applied the event. Only spares a redelivery the slow `prepare`; `apply_once` decides."""
    async with connection(pool) as tx:
        return await store.was_seen(tx, consumer, event_id)


async def begin_attempt(pool: Pool, consumer: str, event_id: str) -> int:
    """Count a redelivery before it is handled, so that the count survives a process that the event kills.

    Returns the number of redeliveries begun, including this one.
    """
    async with connection(pool) as tx:
        return await store.add_attempt(tx, consumer, event_id, 1)


async def uncount_attempt(pool: Pool, consumer: str, event_id: str) -> None:
    """Take back the count of an attempt that failed for a reason outside the event."""
    async with connection(pool) as tx:
        await store.add_attempt(tx, consumer, event_id, -1)
