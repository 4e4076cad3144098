"""Events and dead letters as the bus delivers them: from their bytes, through a service's table of handlers, once."""

from __future__ import annotations

from datetime import datetime

from libs.bus import DeadLetter, Handlers
from libs.contracts import Event, decode_event, encode_event, event_type
from libs.db import Pool, Tx
from libs.outbox import apply_idempotent, apply_once


async def deliver(pool: Pool, handlers: Handlers, event: Event, context: object = None) -> bool:
    """Apply `event` as the service's consumer does; a second delivery of the same event changes nothing.

    context: what the service's `prepare` functions are given.
    Returns False if it had been applied before.
    Raises: KeyError if the service does not handle such events; what the handler raises.
    """
    tag = event_type(event)
    route = handlers.events[tag]
    received = decode_event(tag, encode_event(event))
    prepared = () if route.prepare is None else (await route.prepare(received, context),)

    async def handle(event: Event, tx: Tx) -> list[Event]:
        return await route.handle(event, tx, *prepared)

    if route.idempotent:
        await apply_idempotent(pool, handle, received)
        return True
    return await apply_once(pool, handlers.service, handle, received)


async def deliver_dead(
    pool: Pool, handlers: Handlers, event: Event, *, at: datetime, consumer: str, reason: str
) -> None:
    """Apply the dead letter of `event`, which `consumer` gave up for `reason`, as the service's consumer does.

    Raises: KeyError if the service does not handle dead letters of such events; what the handler raises.
    """
    tag = event_type(event)
    handle_letter = handlers.letters[tag].handle
    letter = DeadLetter(
        consumer=consumer,
        subject=tag,
        event_type=tag,
        event_id=event.id,
        reason=reason,
        error_type=reason.partition(":")[0],
        delivered=8,
        original=encode_event(event),
        at=at,
    )

    async def handle(event: Event, tx: Tx) -> list[Event]:
        return await handle_letter(letter, event, tx)

    await apply_once(pool, f"{handlers.service}-dead:{consumer}", handle, event)
