"""Publishes committed events from the outbox to the broker, at least once each.

Each process publishes what it has committed itself, from memory, right after the commit; the rows are marked a moment
later, many with one statement. Events that a process leaves behind, because it died or the broker was away, are
published by the process that holds the schema's lease.

A row is marked after the broker's PubAck. If the process dies in between, the event is published again, which inboxes
ignore.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from libs.db import Pool
from libs.errors import Unavailable
from libs.outbox import store
from libs.outbox.leader import Leader
from libs.outbox.local import taking
from libs.outbox.publishing import BATCH, BATCH_BYTES, Outcome, Publisher, publish, record
from libs.signals import Signals
from libs.tasks import unless_set

_HELD_BYTES = 32 * 1024 * 1024  # of events in memory; the leader publishes the rest
_COLLECT_S = 0.02  # how long a published row waits to be marked together with others
_RETRY_S = 0.5  # between attempts to mark while Postgres is away

log = logging.getLogger(__name__)


class Relay:
    """Publishes the events of this process, and if it leads, those that other processes left behind."""

    def __init__(
        self, pool: Pool, signals: Signals, bus: Publisher, *, poll_s: float = 2.0, lease_s: float = 10.0
    ) -> None:
        """`poll_s`: how often the leader looks for rows that were left behind; `lease_s`: how soon it is replaced."""
        self._pool = pool
        self._bus = bus
        self.leader = Leader(pool, signals, bus, self._is_ours, poll_s=poll_s, lease_s=lease_s)
        self._fresh: deque[store.Row] = deque()
        self._fresh_bytes = 0
        self._outcomes: list[Outcome] = []  # published or refused, and not marked yet
        self._in_flight: set[int] = set()
        self._wake = asyncio.Event()
        self._collected = asyncio.Event()
        self._emptied = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish events right after their commit, until `stop` is set; then those that are still in memory."""
        self._emptied.clear()
        with taking(self._pool, self.committed):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish_fresh(stop))
                group.create_task(self._mark())
                group.create_task(self.leader.run(stop))

    def committed(self, rows: Sequence[store.Row]) -> None:
        """Take the rows of a transaction that has just been committed."""
        for row in rows:
            if not self._bus.ready() or self._fresh_bytes > _HELD_BYTES:
                self.leader.look_at_all()  # it is in the table, and stays there until the broker is back
                continue
            self._fresh.append(row)
            self._fresh_bytes += len(row.body)
            self._in_flight.add(row.seq)
        self._wake.set()

    async def _publish_fresh(self, stop: asyncio.Event) -> None:
        while self._fresh or not stop.is_set():
            self._wake.clear()
            while rows := self._next():
                outcomes = await publish(self._bus, rows)
                self._outcomes += [outcome for outcome in outcomes if outcome.settled]
                self._collected.set()
                if any(not outcome.settled for outcome in outcomes):
                    self._in_flight.difference_update(outcome.seq for outcome in outcomes if not outcome.settled)
                    self.leader.look_at_all()
            await unless_set(stop, self._wake.wait())
        self._emptied.set()
        self._collected.set()

    def _next(self) -> list[store.Row]:
        """The rows to publish next, bounded in number and bytes."""
        rows: list[store.Row] = []
        size_bytes = 0
        while self._fresh and len(rows) < BATCH and size_bytes < BATCH_BYTES:
            row = self._fresh.popleft()
            size_bytes += len(row.body)
            rows.append(row)
        self._fresh_bytes -= size_bytes
        return rows

    async def _mark(self) -> None:
        """Mark published rows, many with one statement; while Postgres is away, try again."""
        while not (self._emptied.is_set() and not self._outcomes):
            await self._collected.wait()
            self._collected.clear()
            await unless_set(self._emptied, asyncio.sleep(_COLLECT_S))
            outcomes, self._outcomes = self._outcomes, []
            if not outcomes:
                continue
            try:
                await record(self._pool, outcomes)
                self._in_flight.difference_update(outcome.seq for outcome in outcomes)
            except Unavailable as error:
                log.warning("relay: published events not marked yet: %s", error)
                if self._emptied.is_set():
                    return  # the leader publishes them once more, and the inboxes know them
                self._outcomes += outcomes
                self._collected.set()
                await unless_set(self._emptied, asyncio.sleep(_RETRY_S))

    def _is_ours(self, seq: int) -> bool:
        """Whether this process is publishing the row, or about to mark it."""
        return seq in self._in_flight
