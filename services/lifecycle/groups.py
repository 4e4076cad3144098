"""Groups of keys, of a size that fits an event, a statement and a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

GROUP_SIZE = 400  # keys of at most 1,024 bytes: below 512 KiB in an event
CALLS_AT_ONCE = 16  # to storage, about the keys of one group


async def grouped(stream: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    """Yield the items of `stream` in lists of GROUP_SIZE."""
    group: list[T] = []
    async for item in stream:
        group.append(item)
        if len(group) == GROUP_SIZE:
            yield group
            group = []
    if group:
        yield group


def in_groups(items: Sequence[T]) -> list[Sequence[T]]:
    """Cut `items` into sequences of GROUP_SIZE."""
    return [items[start : start + GROUP_SIZE] for start in range(0, len(items), GROUP_SIZE)]


async def call_each(call: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Await `call(item)` for each item, CALLS_AT_ONCE at a time. Returns the results in the order of the items.

    Raises: the first error, once no call is running.
    """
    results: list[R] = []
    for start in range(0, len(items), CALLS_AT_ONCE):
        outcomes = await asyncio.gather(
            *(call(item) for item in items[start : start + CALLS_AT_ONCE]), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
    return results
