"""Limits how much work of one kind runs at a time, in total and for one tenant."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.errors import Overloaded

WAIT_S = 1.0
RETRY_AFTER_S = 2


class Slots:
    """`total` slots, of which one tenant holds at most `per_tenant`.

    Where none is free, a caller waits, but not for long: one that is refused soon can go elsewhere, one that waits
    holds a connection. The next slot goes to the tenant that holds the fewest, and to its first caller.
    """

    def __init__(self, total: int, per_tenant: int | None = None, *, wait_s: float = WAIT_S) -> None:
        self.total = total
        self.per_tenant = total if per_tenant is None else min(per_tenant, total)
        self._wait_s = wait_s
        self._held: Counter[str] = Counter()
        self._at_most: dict[str, int] = {}  # of tenants that hold or wait for slots and have a limit of their own
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # has no empty queues

    @property
    def taken(self) -> int:
        """How many slots are held."""
        return self._held.total()

    def held_by(self, tenant: str) -> int:
        """How many slots the tenant holds."""
        return self._held[tenant]

    @asynccontextmanager
    async def take(self, tenant: str = "", at_most: int | None = None) -> AsyncIterator[None]:
        """Hold a slot within the block.

        at_most: what the tenant may hold instead of `per_tenant`; what was said last counts.
        Raises: Overloaded (an Unavailable, with Retry-After) if none becomes free in time.
        """
        if at_most is None:
            self._at_most.pop(tenant, None)
        else:
            self._at_most[tenant] = at_most
        if self._may_take(tenant):
            self._held[tenant] += 1
        else:
            await self._wait(tenant)
        try:
            yield
        finally:
            self._give_back(tenant)

    def _may_take(self, tenant: str) -> bool:
        return self.taken < self.total and self._held[tenant] < self._at_most.get(tenant, self.per_tenant)

    async def _wait(self, tenant: str) -> None:
        """Return holding a slot. Raises: Overloaded."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back(tenant)  # the slot was granted at the same moment
            else:
                self._leave(tenant, turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(retry_after_s=RETRY_AFTER_S) from None
            raise

    def _leave(self, tenant: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(tenant, deque())
        if turn in queue:
            queue.remove(turn)
            self._drop_if_empty(tenant)

    def _give_back(self, tenant: str) -> None:
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
            if tenant not in self._waiting:
                self._at_most.pop(tenant, None)
        while able := [each for each in self._waiting if self._may_take(each)]:
            chosen = min(able, key=lambda each: self._held[each])
            turn = self._waiting[chosen].popleft()
            self._drop_if_empty(chosen)
            if not turn.done():  # otherwise the caller has just given up
                self._held[chosen] += 1
                turn.set_result(None)
                return

    def _drop_if_empty(self, tenant: str) -> None:
        if not self._waiting[tenant]:
            del self._waiting[tenant]
