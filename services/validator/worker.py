"""Claims validations by lease, gives each an attempt, and keeps the leases while they work."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket

from libs.db import connection
from libs.errors import Unavailable
from libs.signals import Subscription
from libs.tasks import unless_set
from services.validator import metrics, store
from services.validator.attempt import Attempt
from services.validator.dependencies import Dependencies
from services.validator.handlers import WAITING
from services.validator.store import Claim

SOON_S = 0.1  # until the next look when there is something to claim that another process is just claiming

log = logging.getLogger(__name__)


class Worker:
    """Up to `max_validations` attempts at a time."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._config = dependencies.config
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._running: dict[asyncio.Task[None], Attempt] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then every lease is given back, so that another process can go on at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_leases(stop))
            group.create_task(self._claim(stop))

    async def _claim(self, stop: asyncio.Event) -> None:
        with self._dependencies.signals.subscribe(WAITING) as waiting:
            try:
                while not stop.is_set():
                    wait_s = await self._fill(waiting)
                    await unless_set(stop, waiting.wait(wait_s))
            finally:
                await self._end_all()

    async def _fill(self, waiting: Subscription) -> float:
        """Claim what there is room for; in how many seconds to look again, at the latest."""
        room = self._config.max_validations - len(self._running)
        if room == 0:
            return self._config.poll_s  # whichever ends first signals
        try:
            async with connection(self._dependencies.pool) as tx:
                claims = await store.claim(tx, self._owner, room, self._config.lease_s)
                for claim in claims:
                    self._begin(claim, waiting)
                next_s = await store.next_claim_s(tx) if len(claims) < room else None
        except Unavailable as error:
            log.warning("cannot look for work: %s", error)
            return self._config.poll_s
        return self._config.poll_s if next_s is None else min(self._config.poll_s, max(next_s, SOON_S))

    def _begin(self, claim: Claim, waiting: Subscription) -> None:
        attempt = Attempt(claim, self._dependencies)
        task = asyncio.create_task(attempt.run(), name=f"validation {claim.validation_id}")
        self._running[task] = attempt
        metrics.running.set(len(self._running))
        task.add_done_callback(lambda task: self._ended(task, waiting))

    def _ended(self, task: asyncio.Task[None], waiting: Subscription) -> None:
        claim = self._running.pop(task).claim
        metrics.running.set(len(self._running))
        waiting.signal()  # there is room again
        if not task.cancelled() and (error := task.exception()):
            # It could not even record how it went; its lease runs out, and it counts as an attempt.
            log.error("validation broke", extra={"validation_id": claim.validation_id}, exc_info=error)

    async def _keep_leases(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._renew()
            await unless_set(stop, asyncio.sleep(self._config.lease_s / 3))

    async def _renew(self) -> None:
        """One statement renews all; what it does not find has been taken over."""
        running = dict(self._running)
        if not running:
            return
        claims = [attempt.claim for attempt in running.values()]
        try:
            async with connection(self._dependencies.pool) as tx:
                kept = await store.renew(tx, self._owner, claims, self._config.lease_s)
        except Unavailable as error:
            log.warning("cannot renew leases: %s", error)  # unless somebody claims them, they are ours when it is back
            return
        for task, attempt in running.items():
            if (attempt.claim.validation_id, attempt.claim.fence) not in kept and task in self._running:
                attempt.lost = True
                task.cancel()

    async def _end_all(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
