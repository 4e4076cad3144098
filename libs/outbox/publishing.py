"""Publishes rows of the outbox, and records the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from libs import telemetry
from libs.db import Pool, connection
from libs.errors import SlipwayError, Unavailable
from libs.outbox import store

REQUEST_ID_HEADER = "Slipway-Request-Id"
TRACEPARENT_HEADER = "traceparent"

BATCH = 500
BATCH_BYTES = 8 * 1024 * 1024  # in flight at once

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)  # after a refusal; each twice the one before

log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The part of the bus that the relay uses."""

    async def publish(self, subject: str, body: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        """Returns when the broker has stored it. Raises: Unavailable; Invalid if it is too large."""

    def ready(self) -> bool:
        """Whether the broker can be reached."""

    async def wait_ready(self, timeout_s: float) -> bool:
        """True as soon as `ready`, False after `timeout_s` seconds."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of publishing one row."""

    seq: int
    error: SlipwayError | None = None

    @property
    def settled(self) -> bool:
        """Whether the broker has answered: it has stored the event, or refuses it."""
        return not isinstance(self.error, Unavailable)


async def publish(bus: Publisher, rows: Sequence[store.Row]) -> list[Outcome]:
    """Publish all rows at the same time; an error of one stops no other."""
    return await asyncio.gather(*(_publish(bus, row) for row in rows))


async def record(pool: Pool, outcomes: Sequence[Outcome]) -> None:
    """Mark rows as published, or as refused with the reason. Raises: Unavailable."""
    published = [outcome.seq for outcome in outcomes if outcome.error is None]
    refused = {outcome.seq: str(outcome.error) for outcome in outcomes if outcome.error and outcome.settled}
    if published:
        async with connection(pool) as tx:
            await store.mark_published(tx, published)
        telemetry.relay_transactions.labels("mark").inc()
    if refused:
        async with connection(pool) as tx:
            await store.refuse(tx, list(refused), list(refused.values()), FIRST_PAUSE, LONGEST_PAUSE)
        telemetry.relay_transactions.labels("refuse").inc()


async def _publish(bus: Publisher, row: store.Row) -> Outcome:
    # The request id and trace travel with the event, so that its handlers log under the same ids.
    headers = {REQUEST_ID_HEADER: row.request_id, TRACEPARENT_HEADER: row.traceparent}
    try:
        await bus.publish(row.type, row.body.encode(), {k: v for k, v in headers.items() if v}, row.msg_id)
    except Unavailable as error:
        return Outcome(row.seq, error)
    except SlipwayError as error:
        facts = {"event_id": row.event_id, "event": row.type}
        log.error("relay: event refused by the broker, see `slipway admin status`: %s", error, extra=facts)
        telemetry.refusals.labels(row.type).inc()
        return Outcome(row.seq, error)
    return Outcome(row.seq)
