"""One lease, as the process that holds it knows it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class ClaimedRow(Protocol):
    """The result of a claim: what there is to do, and what identifies the lease."""

    @property
    def key(self) -> str:
        """The row's."""

    @property
    def fence(self) -> int:
        """The number of the claim."""


C = TypeVar("C", bound=ClaimedRow)


class LeaseLost(Exception):
    """Another process has taken over, or the work was stopped: change nothing any more."""


@dataclass(eq=False)
class Lease(Generic[C]):
    """Valid until `until`, on this process's monotonic clock, which goes on while the process is paused.

    A lease that has expired is not lost: while Postgres is away nobody can claim the row, and afterwards the lease is
    renewed if nobody has. Its holder pauses until that is known.
    """

    claim: C
    until: float
    lost: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)  # works under the lease
    _known: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # whether it is renewed or lost

    async def held(self) -> None:
        """Return when the lease is certainly held. Await it before each change that is made under the lease.

        Raises: LeaseLost.
        """
        while not self.lost and time.monotonic() >= self.until:
            self._known.clear()
            await self._known.wait()
        if self.lost:
            raise LeaseLost

    def renewed(self, until: float) -> None:
        """The lease is valid until then."""
        self.until = until
        self._known.set()

    def lose(self) -> None:
        """The lease is gone: cancel the work."""
        self.lost = True
        self._known.set()
        if self.task is not None:
            self.task.cancel()
