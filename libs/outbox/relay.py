"""Moves committed events from the outbox to the broker, at least once each.

A row is marked after the broker's PubAck. A relay killed in between publishes it again; the inbox makes that harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from libs.db import Pool, transaction
from libs.errors import SlipwayError, Unavailable
from libs.outbox import store
from libs.outbox.outbox import CHANNEL
from libs.signals import Signals
from libs.tasks import unless_set

KEEP_PUBLISHED = timedelta(days=7)  # as long as EVENTS keeps them: what can be replayed
KEEP_SEEN = timedelta(days=14)  # longer than anything may be redelivered or replayed
POSTPONE = timedelta(seconds=30)

REQUEST_ID_HEADER = "Slipway-Request-Id"
TRACEPARENT_HEADER = "traceparent"

_BATCH = 500
_BATCH_BYTES = 8 * 1024 * 1024  # what a relay holds in memory
_PRUNE_BATCH = 10_000
_PRUNE_EVERY_S = 600.0

log = logging.getLogger(__name__)


class Publisher(Protocol):
    """What the relay needs of the bus."""

    async def publish(self, subject: str, body: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        """Returns when the broker has stored it. Raises: Unavailable; Invalid if it is too large."""

    def ready(self) -> bool:
        """Whether the broker can be reached."""

    async def wait_ready(self, timeout_s: float) -> bool:
        """True as soon as `ready`, False after `timeout_s` seconds."""


class Relay:
    """Publishes the outbox of one schema; any number of relays may run beside each other."""

    def __init__(self, pool: Pool, signals: Signals, bus: Publisher, *, poll_s: float = 5.0) -> None:
        """`poll_s`: how often to look without being woken, since a signal may get lost."""
        self._pool = pool
        self._signals = signals
        self._bus = bus
        self._poll_s = poll_s
        self._next_prune = 0.0  # on the loop's clock

    async def run(self, stop: asyncio.Event) -> None:
        """Publish whatever is committed, as soon as it is, until `stop` is set."""
        with self._signals.subscribe(CHANNEL) as wake:
            while not stop.is_set():
                more = False
                try:
                    await self._prune_when_due()
                    more = self._bus.ready() and await self.publish_batch() > 0
                except Unavailable as error:
                    log.warning("relay: will try again: %s", error)
                if not more:
                    # While the broker is away nothing can be done, so its return is what to wait for.
                    waiting = wake.wait if self._bus.ready() else self._bus.wait_ready
                    await unless_set(stop, waiting(self._poll_s))

    async def publish_batch(self) -> int:
        """Publish the oldest unpublished rows, pipelined, and mark what the broker has acknowledged.

        Returns how many were published. Raises: Unavailable, after marking those that did get through.
        """
        async with transaction(self._pool) as tx:
            rows = await store.claim(tx, _BATCH, _BATCH_BYTES)
            if not rows:
                return 0
            outcomes = await asyncio.gather(*(self._publish(row) for row in rows))
            published = [row.seq for row, error in zip(rows, outcomes, strict=True) if error is None]
            refused = [row.seq for row, error in zip(rows, outcomes, strict=True) if _is_refusal(error)]
            await store.mark_published(tx, published)
            await store.postpone(tx, refused, POSTPONE)
        unavailable = next((error for error in outcomes if isinstance(error, Unavailable)), None)
        if unavailable is not None:
            raise unavailable
        return len(published)

    async def _publish(self, row: store.Row) -> SlipwayError | None:
        """None if the broker has it; one row's error is not to stop the others, so it is returned."""
        headers = {name: value for name, value in _headers(row).items() if value}
        try:
            await self._bus.publish(row.type, row.body.encode(), headers, row.msg_id)
        except SlipwayError as error:
            if _is_refusal(error):
                log.error("relay: event refused by the broker: %s", error, extra={"event_id": row.event_id})
            return error
        return None

    async def _prune_when_due(self) -> None:
        """Now and then, drop rows that are too old to be replayed or redelivered."""
        now = asyncio.get_running_loop().time()
        if now < self._next_prune:
            return
        self._next_prune = now + _PRUNE_EVERY_S
        await prune(self._pool)


async def prune(pool: Pool, *, keep_published: timedelta = KEEP_PUBLISHED, keep_seen: timedelta = KEEP_SEEN) -> int:
    """Delete published events, inbox rows and attempts older than told, in small transactions. Returns how many."""
    pruned = 0
    while True:
        async with transaction(pool) as tx:
            outbox = await store.prune_outbox(tx, keep_published, _PRUNE_BATCH)
            inbox = await store.prune_inbox(tx, keep_seen, _PRUNE_BATCH)
            attempts = await store.prune_attempts(tx, keep_seen)
        pruned += outbox + inbox + attempts
        if max(outbox, inbox) < _PRUNE_BATCH:
            return pruned


def _is_refusal(error: SlipwayError | None) -> bool:
    """The broker will not take this event, however often it is tried."""
    return error is not None and not isinstance(error, Unavailable)


def _headers(row: store.Row) -> dict[str, str | None]:
    """On whose behalf the event was emitted: travels with it, so that its handlers log under the same ids."""
    return {REQUEST_ID_HEADER: row.request_id, TRACEPARENT_HEADER: row.traceparent}
