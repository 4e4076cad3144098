"""The lease on one extraction, as its holder knows it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from services.extractor.store import Claim


class LeaseLost(Exception):
    """Somebody else may have taken over: change nothing any more."""


@dataclass(eq=False)
class Lease:
    """Held until `until`, on this process's monotonic clock, which goes on while the process is paused."""

    claim: Claim
    until: float
    lost: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)  # the attempt that works under it

    def check(self) -> None:
        """Raises: LeaseLost, unless the lease is certainly still ours."""
        if self.lost or time.monotonic() >= self.until:
            self.lost = True
            raise LeaseLost

    def lose(self) -> None:
        """It is gone: the work ends at once."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()
