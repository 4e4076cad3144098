"""All leases that a process holds on rows of one table."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic

from libs.db import Pool, connection
from libs.leases.lease import C, Lease
from libs.leases.store import LeaseTable
from libs.periodic import repeat
from libs.signals import Subscription

log = logging.getLogger(__name__)


class HeldLeases(Generic[C]):
    """Runs a task under each lease, and renews the leases while the tasks run."""

    def __init__(self, table: LeaseTable[str], pool: Pool, lease_s: float, ended: Callable[[Lease[C]], object]) -> None:
        """`lease_s`: seconds that a lease is valid; `ended` is called when the task of a lease has ended."""
        self.holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._table = table
        self._pool = pool
        self._lease_s = lease_s
        self._on_end = ended
        self._leases: dict[Lease[C], None] = {}  # a set that keeps its order

    def __iter__(self) -> Iterator[Lease[C]]:
        return iter(list(self._leases))

    def __len__(self) -> int:
        return len(self._leases)

    def begin(self, lease: Lease[C], work: Coroutine[Any, Any, None]) -> None:
        """Run `work` under a lease that was just claimed. It is cancelled when the lease is lost."""
        lease.task = asyncio.create_task(work, name=f"{self._table.table} {lease.claim.key}")
        lease.task.add_done_callback(lambda task: self._ended(lease, task))
        self._leases[lease] = None

    async def keep(self, stop: asyncio.Event, wake: Subscription | None = None) -> None:
        """Renew the leases three times in their duration, and after each signal on `wake`, until `stop` is set."""
        await repeat(stop, self.renew, self._lease_s / 3, name=f"leases on {self._table.table}", wake=wake)

    async def renew(self) -> None:
        """Renew all leases with one statement. What it does not find was stopped, or taken over by another process.

        Raises: Unavailable. Nobody else can claim the rows then; work under an expired lease pauses until it is known
        whose it is.
        """
        leases = list(self._leases)
        if not leases:
            return
        asked_at = time.monotonic()
        async with connection(self._pool) as tx:
            keys = [(lease.claim.key, lease.claim.fence) for lease in leases]
            kept = await self._table.renew(tx, self.holder, keys, self._lease_s)
        for lease in leases:
            if (lease.claim.key, lease.claim.fence) in kept:
                lease.renewed(asked_at + self._lease_s)
            elif lease in self._leases:
                lease.lose()

    async def end_all(self) -> None:
        """Cancel every task once and wait for it; each gives its own lease back."""
        tasks = [lease.task for lease in self._leases if lease.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, lease: Lease[C], task: asyncio.Task[None]) -> None:
        del self._leases[lease]
        self._on_end(lease)
        if not task.cancelled() and (error := task.exception()):
            # The task could not even record its outcome; its lease expires, and it counts as an attempt.
            log.error("%s broke", task.get_name(), extra={"key": lease.claim.key}, exc_info=error)
