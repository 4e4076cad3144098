"""Streams of keys, cut so that each batch fits an event, a statement and a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

BATCH = 400  # keys of at most 1,024 bytes: below 512 KiB in an event
CALLS_AT_ONCE = 16  # to storage, about the keys of one batch


async def batched(stream: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    """Its items, `BATCH` at a time."""
    batch: list[T] = []
    async for item in stream:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def sliced(items: Sequence[T]) -> list[Sequence[T]]:
    """The same of what is in memory."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


async def each(call: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """`call(item)` of each, some at a time, in their order. Raises: the first error, once no call is under way."""
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
