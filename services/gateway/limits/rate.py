"""Requests per second of projects and keys, counted in Postgres: true over all gateways.

Seconds are those of Postgres' clock. A gateway takes requests from a second's count in blocks, a tenth of the limit at
a time, and lets them through from memory; what is left of a block when its second ends is lost. So never more than the
limit pass within a second, whatever the number of gateways, and a project without a limit costs no statement. A burst
may take all of a second at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Final

from libs.db import Pool, connection
from libs.errors import RateLimited
from libs.web import Admission, Principal
from services.gateway.limits import store
from services.gateway.limits.terms import LimitName
from services.gateway.projects.access import ProjectKey

NAME: Final[LimitName] = "requests_per_second"
BLOCKS = 10  # of which a limit consists
LOOKS = 3  # for a block whose second has not ended when it comes
REMEMBERED = 1000  # subjects; beyond, those are forgotten whose second has ended

_UNLIMITED = Admission()


@dataclass(slots=True)
class _Block:
    """What this gateway knows of the current second of one project or key."""

    taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    ends_at: float = 0.0  # by the clock of this process, never later than by Postgres'
    left: int = 0  # requests that may still be let through from memory
    elsewhere: int = 0  # requests of this second that nobody had taken

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at


class Rates:
    """Lets requests of principals through, or not."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._blocks: dict[str, _Block] = {}

    async def admit(self, principal: Principal) -> Admission:
        """Count a request. Both limits hold, that of the key and that of its project; what a response says of limits is
        about the one with less left. Raises: Unavailable.
        """
        if not isinstance(principal, ProjectKey):
            return _UNLIMITED
        of_key, of_project = principal.key_limits.requests_per_second, principal.limits.requests_per_second
        if of_key is None and of_project is None:
            return _UNLIMITED
        admissions = []
        for subject, limit in ((principal.key_id, of_key), (principal.project_id, of_project)):
            if limit is not None:
                remaining, reset_s = await self._count(subject, limit)
                headers = _headers(limit, max(0, remaining), reset_s)
                if remaining < 0:
                    return Admission(headers, _refusal(principal, subject, limit, reset_s))
                admissions.append((remaining, headers))
        return Admission(min(admissions, key=lambda each: each[0])[1])

    async def _count(self, subject: str, limit: int) -> tuple[int, float]:
        """The requests that remain in this second after this one, -1 if it is one too many; and the seconds of it."""
        block = self._blocks.get(subject)
        if block is None:
            self._forget()
            block = self._blocks[subject] = _Block()
        if block.left == 0 or block.is_over:
            async with block.taking:  # of all that wait, one asks Postgres; the others use what it brings
                await self._take(block, subject, limit)
        reset_s = max(0.0, block.ends_at - time.monotonic())
        if block.left == 0 or block.is_over:
            return -1, reset_s
        block.left -= 1
        return block.left + block.elsewhere, reset_s

    async def _take(self, block: _Block, subject: str, limit: int) -> None:
        """Take another block, unless another request has just done so, or this second has none."""
        size = max(1, limit // BLOCKS)
        for _ in range(LOOKS):
            if not block.is_over and (block.left or not block.elsewhere):
                return
            asked_at = time.monotonic()
            async with connection(self._pool) as tx:
                window = await store.take_requests(tx, subject, size)
            block.ends_at = asked_at + window.ends_in_s
            block.left = max(0, min(size, limit - (window.taken - size)))
            block.elsewhere = max(0, limit - window.taken)

    def _forget(self) -> None:
        if len(self._blocks) >= REMEMBERED:
            self._blocks = {
                subject: block for subject, block in self._blocks.items() if block.taking.locked() or not block.is_over
            }


def _headers(limit: int, remaining: int, reset_s: float) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(_whole_seconds(reset_s)),
    }


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _refusal(principal: ProjectKey, subject: str, limit: int, reset_s: float) -> RateLimited:
    of_key = subject == principal.key_id
    raised_by = f"slipway admin limits set {principal.project_id} {f'--key {subject} ' if of_key else ''}{NAME}=…"
    return RateLimited(
        f"{'This key' if of_key else 'This project'} may send {limit} requests per second ({NAME}), and has sent them. "
        "Send it again when Retry-After has passed; the operator of this installation can raise the limit: "
        f"{raised_by}",
        retry_after_s=_whole_seconds(reset_s),
        details={"limit": NAME, "used": limit, "requested": 1, "maximum": limit},
    )
