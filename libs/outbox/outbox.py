"""The sending half: events become rows of the transaction that made them true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs import telemetry
from libs.contracts import Event, encode_event, event_type
from libs.db import Pool, Tx, connection, transaction
from libs.errors import Invalid
from libs.outbox import store
from libs.signals import notify

CHANNEL = "outbox"
MAX_EVENT_BYTES = 4 * 1024 * 1024  # half of the max_payload that NATS runs with: a dead letter's base64 is to fit too


async def emit(tx: Tx, events: Sequence[Event]) -> None:
    """Tell of `events` when, and only if, `tx` commits; the relay is woken at once.

    They carry the present request id and trace. Raises: Invalid if an event is too large for the broker.
    """
    if not events:
        return
    bodies = [encode_event(event) for event in events]
    for event, body in zip(events, bodies, strict=True):
        if len(body) > MAX_EVENT_BYTES:
            raise Invalid(f"An event {event_type(event)} of {len(body)} bytes: at most {MAX_EVENT_BYTES} can be sent.")
    context = telemetry.current()
    await store.append(
        tx,
        [event.id for event in events],
        [event_type(event) for event in events],
        [body.decode() for body in bodies],
        (context.request_id, context.traceparent),
    )
    await notify(tx, CHANNEL)


async def replay(pool: Pool, *, since: datetime | None = None, event_ids: Sequence[str] | None = None) -> int:
    """Publish again what was published: everything kept, or emitted since `since`, or named. Returns how many.

    Consumers that have applied them do nothing; one that lost its state, or is new, catches up.
    """
    async with transaction(pool) as tx:
        count = await store.reopen(tx, since, event_ids)
        await notify(tx, CHANNEL)
    return count


async def depth(pool: Pool) -> int:
    """How many events are committed and not yet published."""
    async with connection(pool) as tx:
        return await store.unpublished(tx)
