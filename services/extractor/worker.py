"""Claims extractions by lease, and gives each an attempt."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from libs.db import Tx, transaction
from libs.errors import Unavailable
from libs.leases import HeldLeases, Lease
from libs.periodic import repeat
from libs.signals import Subscription
from services.extractor import metrics
from services.extractor.attempt import Attempt
from services.extractor.dependencies import Dependencies
from services.extractor.store import leases
from services.extractor.store.leases import CLAIMABLE, LEASES, Claim
from services.extractor.store.streams import STOPPED

SOON_S = 0.1  # until the next claim when another process is just claiming what there is

log = logging.getLogger(__name__)


class Worker:
    """Runs up to `max_open` attempts at a time. Most of them wait, which takes a coroutine and their buffers."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._config = dependencies.config
        self._held = HeldLeases[Claim](LEASES, dependencies.lease_pool, self._config.lease_s, self._ended)
        self._attempts: dict[Lease[Claim], Attempt] = {}
        self._claimable: Subscription | None = None
        # A quarter of the places is kept from any one project, for projects that have nothing running yet.
        self._of_one_project = max(1, self._config.max_open - self._config.max_open // 4)
        self._take_over_from = 0.0  # monotonic; before it, expired leases are left to their holders

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then every lease is given back, so that another process can go on at once."""
        with ThreadPoolExecutor(self._config.cpu_threads, thread_name_prefix="unpack") as threads:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_leases(stop))
                group.create_task(self._claim(stop, threads))

    async def _keep_leases(self, stop: asyncio.Event) -> None:
        with self._dependencies.signals.subscribe(STOPPED) as stopped:
            await self._held.keep(stop, wake=stopped)

    async def _claim(self, stop: asyncio.Event, threads: ThreadPoolExecutor) -> None:
        with self._dependencies.signals.subscribe(CLAIMABLE) as self._claimable:
            try:
                work = partial(self._fill, threads)
                await repeat(stop, work, self._config.poll_s, name="extractions", wake=self._claimable)
            finally:
                await self._held.end_all()

    async def _fill(self, threads: ThreadPoolExecutor) -> float:
        """Claim as many extractions as there is room for. Returns the seconds until the next look, at the latest."""
        room = self._config.max_open - len(self._held)
        asked_at = time.monotonic()
        try:
            async with transaction(self._dependencies.pool) as tx:
                fetches = min(room, self._config.max_imports - self._fetching)
                claims = await self._claims(tx, fetches, remote=True) if fetches > 0 else []
                claims += await self._claims(tx, room - len(claims)) if room > len(claims) else []
                next_s = await leases.next_claim_s(
                    tx, self._held.holder, remote=self._fetching < self._config.max_imports
                )
        except Unavailable as unavailable:
            log.warning("cannot look for work: %s", unavailable)
            # Those who hold leases could not renew them either, and must have the first chance to do so.
            self._take_over_from = time.monotonic() + self._config.poll_s + self._config.lease_s
            return self._config.poll_s
        for claim in claims:
            self._begin(Lease(claim, asked_at + self._config.lease_s), threads)
        if next_s is None:
            return self._config.poll_s
        if next_s == 0 and not claims:
            self._make_room()
            return min(self._config.poll_s, self._config.idle_if_wanted_s)
        return min(self._config.poll_s, max(next_s, SOON_S))

    @property
    def _fetching(self) -> int:
        """How many of the leases are on files in other stores."""
        return sum(lease.claim.stream.remote is not None for lease in self._held)

    async def _claims(self, tx: Tx, room: int, *, remote: bool = False) -> list[Claim]:
        return await leases.claim(
            tx,
            self._held.holder,
            room,
            self._config.lease_s,
            of_one_project=self._of_one_project,
            running=[lease.claim.key for lease in self._held],
            take_over=time.monotonic() >= self._take_over_from,
            remote=remote,
        )

    def _begin(self, lease: Lease[Claim], threads: ThreadPoolExecutor) -> None:
        attempt = Attempt(lease, self._dependencies, owner=self._held.holder, threads=threads)
        self._attempts[lease] = attempt
        self._held.begin(lease, attempt.run())
        metrics.open_extractions.set(len(self._held))

    def _ended(self, lease: Lease[Claim]) -> None:
        del self._attempts[lease]
        metrics.open_extractions.set(len(self._held))
        if self._claimable is not None:
            self._claimable.signal()  # there is room again

    def _make_room(self) -> None:
        """Other extractions wait for a place: end the attempt in their way that has waited longest for a part."""
        full = len(self._held) == self._config.max_open
        places = Counter(lease.claim.stream.project_id for lease in self._held)
        idle = [
            attempt.parts
            for lease, attempt in self._attempts.items()
            if attempt.parts.idle_since is not None
            and (full or places[lease.claim.stream.project_id] >= self._of_one_project)
        ]
        if not idle:
            return
        longest = min(idle, key=lambda parts: parts.idle_since or 0.0)
        if time.monotonic() - (longest.idle_since or 0.0) >= self._config.idle_if_wanted_s:
            longest.give_way()
