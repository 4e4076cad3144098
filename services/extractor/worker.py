"""Claims extractions by lease, gives each an attempt, and keeps the leases while they work."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from libs.blobs import Blobs
from libs.db import Pool, Tx, connection, transaction
from libs.errors import Unavailable
from libs.signals import Signals, Subscription
from libs.tasks import unless_set
from services.extractor import metrics, store
from services.extractor.attempt import Attempt, Tools
from services.extractor.config import ExtractorConfig
from services.extractor.handlers import CLAIMABLE, STOPPED
from services.extractor.leases import Lease
from services.extractor.store import Claim

SOON_S = 0.1  # until the next look when there is something to claim that another process is just claiming

log = logging.getLogger(__name__)


class Worker:
    """Up to `max_open` attempts at a time; most of them wait, which takes a coroutine and what they hold in memory."""

    def __init__(
        self, config: ExtractorConfig, *, pool: Pool, lease_pool: Pool, blobs: Blobs, signals: Signals
    ) -> None:
        """`lease_pool` renews leases and nothing else, so that statements that wait for a connection cost none."""
        self._config = config
        self._pool = pool
        self._lease_pool = lease_pool
        self._blobs = blobs
        self._signals = signals
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._running: dict[Lease, Attempt] = {}
        # A quarter of the places is kept from any one project, for those that have nothing running yet.
        self._of_one_project = max(1, config.max_open - config.max_open // 4)
        self._take_over_from = 0.0  # monotonic; before it, leases that have run out are left to their holders

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then every lease is given back, so that another process can go on at once."""
        with ThreadPoolExecutor(self._config.cpu_threads, thread_name_prefix="unpack") as threads:
            tools = Tools(self._config, self._owner, self._pool, self._blobs, self._signals, threads)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_leases(stop))
                group.create_task(self._claim(stop, tools))

    async def _claim(self, stop: asyncio.Event, tools: Tools) -> None:
        with self._signals.subscribe(CLAIMABLE) as claimable:
            try:
                while not stop.is_set():
                    wait_s = await self._fill(tools, claimable)
                    await unless_set(stop, claimable.wait(wait_s))
            finally:
                await self._end_all()

    async def _fill(self, tools: Tools, claimable: Subscription) -> float:
        """Claim what there is room for; in how many seconds to look again, at the latest."""
        room = self._config.max_open - len(self._running)
        asked_at = time.monotonic()
        try:
            async with transaction(self._pool) as tx:
                claims = await self._claims(tx, room) if room else []
                next_s = await store.next_claim_s(tx, self._owner)
        except Unavailable as unavailable:
            log.warning("cannot look for work: %s", unavailable)
            # Those who hold leases could not renew them either, and are to be the first to do so.
            self._take_over_from = time.monotonic() + self._config.poll_s + self._config.lease_s
            return self._config.poll_s
        for claim in claims:
            self._begin(claim, asked_at + self._config.lease_s, tools, claimable)
        if next_s is None:
            return self._config.poll_s
        if next_s == 0 and not claims:
            self._make_room()
            return min(self._config.poll_s, self._config.idle_if_wanted_s)
        return min(self._config.poll_s, max(next_s, SOON_S))

    async def _claims(self, tx: Tx, room: int) -> list[Claim]:
        return await store.claim(
            tx,
            self._owner,
            room,
            self._config.lease_s,
            of_one_project=self._of_one_project,
            running=[lease.claim.id for lease in self._running],
            take_over=time.monotonic() >= self._take_over_from,
        )

    def _begin(self, claim: Claim, until: float, tools: Tools, claimable: Subscription) -> None:
        lease = Lease(claim, until)
        attempt = Attempt(lease, tools)
        self._running[lease] = attempt
        metrics.open_extractions.set(len(self._running))
        lease.task = asyncio.create_task(attempt.run(), name=f"extraction {claim.id}")
        lease.task.add_done_callback(lambda task: self._ended(lease, task, claimable))

    def _ended(self, lease: Lease, task: asyncio.Task[None], claimable: Subscription) -> None:
        del self._running[lease]
        metrics.open_extractions.set(len(self._running))
        claimable.signal()  # there is room again
        if not task.cancelled() and (error := task.exception()):
            # It could not even record how it went; its lease runs out, and counts as an attempt.
            log.error("extraction broke", extra={"stream_id": lease.claim.id}, exc_info=error)

    def _make_room(self) -> None:
        """Others wait for a place: of those in their way, whoever waits longest for its next part lets go."""
        full = len(self._running) == self._config.max_open
        places = Counter(lease.claim.stream.project_id for lease in self._running)
        idle = [
            attempt.parts
            for lease, attempt in self._running.items()
            if attempt.parts.idle_since is not None
            and (full or places[lease.claim.stream.project_id] >= self._of_one_project)
        ]
        if not idle:
            return
        longest = min(idle, key=lambda parts: parts.idle_since or 0.0)
        if time.monotonic() - (longest.idle_since or 0.0) >= self._config.idle_if_wanted_s:
            longest.give_way()

    async def _keep_leases(self, stop: asyncio.Event) -> None:
        with self._signals.subscribe(STOPPED) as stopped:
            while not stop.is_set():
                await self._renew()
                await unless_set(stop, stopped.wait(self._config.lease_s / 3))

    async def _renew(self) -> None:
        """One statement renews all; what it does not find has been stopped, or taken over."""
        leases = list(self._running)
        if not leases:
            return
        asked_at = time.monotonic()
        try:
            async with connection(self._lease_pool) as tx:
                kept = await store.renew(tx, self._owner, [lease.claim for lease in leases], self._config.lease_s)
        except Unavailable as unavailable:
            # Nobody else can claim them now; what has run out meanwhile pauses until it is known whose it is.
            log.warning("cannot renew leases: %s", unavailable)
            return
        for lease in leases:
            if (lease.claim.id, lease.claim.fence) in kept:
                lease.renewed(asked_at + self._config.lease_s)
            elif lease in self._running:
                lease.lose()

    async def _end_all(self) -> None:
        tasks = [lease.task for lease in self._running if lease.task is not None]
        for task in tasks:
            task.cancel()  # once: each then hands its stream over
        if tasks:
            await asyncio.wait(tasks)
