"""Claims validations by lease, and gives each an attempt."""

from __future__ import annotations

import asyncio
import time

from libs.db import transaction
from libs.leases import HeldLeases, Lease
from libs.periodic import repeat
from libs.signals import Subscription
from services.validator import metrics, store
from services.validator.attempt import Attempt
from services.validator.dependencies import Dependencies
from services.validator.store import LEASES, WAITING, Claim

SOON_S = 0.1  # until the next claim when another process is just claiming what there is


class Worker:
    """Runs up to `max_validations` attempts at a time."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._config = dependencies.config
        self._held = HeldLeases[Claim](LEASES, dependencies.pool, self._config.lease_s, self._ended)
        self._waiting: Subscription | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then every lease is given back, so that another process can go on at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._held.keep(stop))
            group.create_task(self._claim(stop))

    async def _claim(self, stop: asyncio.Event) -> None:
        with self._dependencies.signals.subscribe(WAITING) as self._waiting:
            try:
                await repeat(stop, self._fill, self._config.poll_s, name="validations", wake=self._waiting)
            finally:
                await self._held.end_all()

    async def _fill(self) -> float | None:
        """Claim as many validations as there is room for. Returns the seconds until the next look.

        Raises: Unavailable.
        """
        room = self._config.max_validations - len(self._held)
        if room == 0:
            return None  # the first attempt that ends signals
        asked_at = time.monotonic()
        async with transaction(self._dependencies.pool) as tx:
            claims = await store.claim(tx, self._held.holder, room, self._config.lease_s)
            next_s = await store.next_claim_s(tx) if len(claims) < room else None
        for claim in claims:
            self._begin(Lease(claim, asked_at + self._config.lease_s))
        return None if next_s is None else min(self._config.poll_s, max(next_s, SOON_S))

    def _begin(self, lease: Lease[Claim]) -> None:
        self._held.begin(lease, Attempt(lease, self._dependencies).run())
        metrics.running.set(len(self._held))

    def _ended(self, _: Lease[Claim]) -> None:
        metrics.running.set(len(self._held))
        if self._waiting is not None:
            self._waiting.signal()  # there is room again
