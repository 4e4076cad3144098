"""The lease on one extraction, as its holder knows it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from services.extractor.store import Claim


class LeaseLost(Exception):
    """Somebody else has taken over, or the upload has ended: change nothing any more."""


@dataclass(eq=False)
class Lease:
    """Held until `until`, on this process's monotonic clock, which goes on while the process is paused.

    One that has run out is not lost: while Postgres is away nobody can claim it, and afterwards it is renewed if
    nobody has. Until that is known, its holder pauses.
    """

    claim: Claim
    until: float
    lost: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)  # the attempt that works under it
    _known: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # since the last wait for it

    async def held(self) -> None:
        """Return when the lease is certainly held; before each change that is made under it.

        Raises: LeaseLost.
        """
        while not self.lost and time.monotonic() >= self.until:
            self._known.clear()
            await self._known.wait()
        if self.lost:
            raise LeaseLost

    def renewed(self, until: float) -> None:
        """It is held until then."""
        self.until = until
        self._known.set()

    def lose(self) -> None:
        """It is gone: the work ends at once."""
        self.lost = True
        self._known.set()
        if self.task is not None:
            self.task.cancel()
