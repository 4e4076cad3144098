"""The one relay of a schema that publishes what the others left behind, and deletes old rows.

It leads by a row with a time in it, which it renews; a session lock of Postgres would not survive a pooler. Being
leader guards nothing: two of them for a moment publish an event twice, which inboxes ignore. So it needs no fence.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import Callable
from datetime import timedelta

from libs import telemetry
from libs.db import Pool, connection
from libs.errors import Unavailable
from libs.outbox import store
from libs.outbox.outbox import CHANNEL
from libs.outbox.publishing import BATCH, BATCH_BYTES, Publisher, publish, record
from libs.outbox.retention import forget_some
from libs.signals import Signals, Subscription
from libs.tasks import unless_set

LEFT_BEHIND = timedelta(seconds=2)  # younger rows are being published by the process that committed them
FORGET_EVERY_S = 600.0
_RETRY_S = 0.5  # after Postgres or the broker did not answer

log = logging.getLogger(__name__)


class Leader:
    """A candidate for leader: while it holds the lease, it publishes rows of other processes."""

    def __init__(
        self,
        pool: Pool,
        signals: Signals,
        bus: Publisher,
        is_ours: Callable[[int], bool],
        *,
        poll_s: float,
        lease_s: float,
    ) -> None:
        """`is_ours`: whether this process is publishing the row with this seq at this moment."""
        self._pool = pool
        self._signals = signals
        self._bus = bus
        self._is_ours = is_ours
        self._poll_s = poll_s
        self._lease_s = lease_s
        self.holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._all = True  # whether to look at the youngest rows too: at first, after a signal, after an outage
        self._subscription: Subscription | None = None
        self._held_until = self._ask_at = self._poll_at = self._forget_at = 0.0  # on the loop's clock

    def look_at_all(self) -> None:
        """Look at once, if this process leads: there are rows that nobody is publishing."""
        self._all = True
        if self._subscription is not None:
            self._subscription.signal()

    async def run(self, stop: asyncio.Event) -> None:
        """Lead whenever no other process does, until `stop` is set."""
        with self._signals.subscribe(CHANNEL) as self._subscription:
            while not stop.is_set():
                more = False
                try:
                    more = self._bus.ready() and await self._leads() and await self._round()
                except Unavailable as error:
                    self._all = True
                    log.warning("relay: will try again: %s", error)
                    await unless_set(stop, asyncio.sleep(_RETRY_S))
                    continue
                if not more:
                    await unless_set(stop, self._wait(self._subscription))
            await self._release()

    async def publish_left_behind(self, older_than: timedelta = LEFT_BEHIND) -> int:
        """Publish the oldest rows that nobody publishes, at most a batch. Returns how many were published or refused.

        Raises: Unavailable, after marking those that were published.
        """
        async with connection(self._pool) as tx:
            found = await store.left_behind(tx, older_than, BATCH, BATCH_BYTES)
        telemetry.relay_transactions.labels("look").inc()
        rows = [row for row in found if not self._is_ours(row.seq)]
        if not rows:
            return 0
        outcomes = await publish(self._bus, rows)
        settled = [outcome for outcome in outcomes if outcome.settled]
        if settled:
            await record(self._pool, settled)
        for outcome in outcomes:
            if not outcome.settled and outcome.error:
                raise outcome.error
        return len(settled)

    async def _wait(self, subscription: Subscription) -> None:
        """Return when there may be something to do; while the broker is away, when it is back."""
        if not self._bus.ready():
            self._all = True
            await self._bus.wait_ready(self._pause_s())
        elif await subscription.wait(self._pause_s()):
            self._all = True

    async def _round(self) -> bool:
        """Look for rows, if that is due. Returns whether there is more to do at once."""
        now = _now()
        published = 0
        if self._all or now >= self._poll_at:
            look_at_all, self._all = self._all, False
            self._poll_at = now + self._poll_s
            published = await self.publish_left_behind(timedelta(0) if look_at_all else LEFT_BEHIND)
            if published:
                self._all = self._all or look_at_all
                self._poll_at = now
        return published > 0 or await self._forget()

    async def _leads(self) -> bool:
        """Whether this process holds the lease; claims or renews it when that is due."""
        now = _now()
        if now < self._ask_at:
            return now < self._held_until
        async with connection(self._pool) as tx:
            held = await store.hold_lease(tx, self.holder, timedelta(seconds=self._lease_s))
        telemetry.relay_transactions.labels("lease").inc()
        if held and now >= self._held_until:
            self._all = True
            log.info("relay: leads")
        self._held_until = now + self._lease_s if held else 0.0
        self._ask_at = now + self._lease_s * (1 / 3 if held else random.uniform(0.4, 0.6))  # noqa: S311  # no secret
        return held

    async def _release(self) -> None:
        """Let another one lead at once."""
        if _now() >= self._held_until:
            return
        self._held_until = 0.0
        try:
            async with connection(self._pool) as tx:
                await store.release_lease(tx, self.holder)
        except Unavailable as error:
            log.debug("relay: lease not released, it expires: %s", error)

    async def _forget(self) -> bool:
        """Delete some of the old rows, when that is due. Returns whether there are more."""
        if _now() < self._forget_at:
            return False
        more = await forget_some(self._pool) > 0
        telemetry.relay_transactions.labels("prune").inc()
        if not more:
            self._forget_at = _now() + FORGET_EVERY_S
        return more

    def _pause_s(self) -> float:
        """The longest wait, in seconds."""
        if _now() < self._held_until:
            return min(self._poll_s, self._lease_s / 3)
        return max(self._ask_at - _now(), 0.05)


def _now() -> float:
    return asyncio.get_running_loop().time()
