"""Which relay of this process publishes the rows that are committed through a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from libs.db import Pool
from libs.outbox.store import Row

Take = Callable[[Sequence[Row]], None]

_takers: dict[int, list[Take]] = {}  # by the id of their pool


@contextmanager
def taking(pool: Pool, take: Take) -> Iterator[None]:
    """Call `take` with the rows of each commit through `pool`, until the block ends."""
    takers = _takers.setdefault(id(pool), [])
    takers.append(take)
    try:
        yield
    finally:
        takers.remove(take)
        if not takers:
            del _takers[id(pool)]


def taker(pool: Pool | None) -> Take | None:
    """The function that takes the rows committed through `pool` in this process; None if there is none."""
    takers = _takers.get(id(pool))
    return takers[0] if takers else None
