"""The sending half: events become rows, in the transaction of the change that they announce."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from libs import telemetry
from libs.contracts import Event, encode_event, event_type
from libs.contracts.limits import MAX_EVENT_BYTES
from libs.db import Pool, Tx, after_commit, connection, pool_of, transaction
from libs.errors import Invalid
from libs.outbox import store
from libs.outbox.local import taker
from libs.outbox.store import Refused
from libs.signals import notify

CHANNEL = "outbox"

_REOPEN_BATCH = 5_000


async def emit(tx: Tx, events: Sequence[Event]) -> None:
    """Add `events` to the outbox. If `tx` commits, this process's relay publishes them at once.

    They carry the present request id and trace. Raises: Invalid if an event is too large for the broker.
    """
    if not events:
        return
    bodies = [encode_event(event) for event in events]
    for event, body in zip(events, bodies, strict=True):
        if len(body) > MAX_EVENT_BYTES:
            raise Invalid(f"An event {event_type(event)} of {len(body)} bytes: at most {MAX_EVENT_BYTES} can be sent.")
    context = telemetry.current()
    ids = [event.id for event in events]
    types = [event_type(event) for event in events]
    texts = [body.decode() for body in bodies]
    rows = await store.append(tx, ids, types, texts, (context.request_id, context.traceparent))
    take = taker(pool_of(tx))
    if take is None:
        await notify(tx, CHANNEL)  # the relay that leads
        return
    after_commit(tx, partial(take, rows))


async def replay(pool: Pool, *, since: datetime | None = None, event_ids: Sequence[str] | None = None) -> int:
    """Publish events again: all that are kept, those emitted since `since`, or those named. Returns how many.

    Consumers that have applied them do nothing; one that is new, or has lost its state, catches up.
    """
    count = 0
    async with connection(pool) as tx:
        before = await store.now(tx)
    while True:
        async with transaction(pool) as tx:
            some = await store.reopen(tx, since, before, event_ids, _REOPEN_BATCH)
            await notify(tx, CHANNEL)
        count += some
        if some < _REOPEN_BATCH:
            return count


async def retry(pool: Pool, event_ids: Sequence[str] | None = None) -> int:
    """Publish events again that the broker has refused: all, or those named. Returns how many."""
    async with transaction(pool) as tx:
        count = await store.retry(tx, event_ids)
        await notify(tx, CHANNEL)
    return count


async def refused(pool: Pool, limit: int = 100) -> list[Refused]:
    """The oldest events that the broker refuses, with its reasons."""
    async with connection(pool) as tx:
        return await store.refused(tx, limit)


async def depth(pool: Pool) -> int:
    """How many events are committed and not yet published."""
    async with connection(pool) as tx:
        return await store.unpublished(tx)


async def depth_and_refused(pool: Pool) -> tuple[int, int]:
    """How many events are not yet published, and how many of these the broker refuses."""
    async with connection(pool) as tx:
        return await store.unpublished(tx), await store.count_refused(tx)
