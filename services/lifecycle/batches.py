"""Streams of keys, cut so that each batch fits an event, a statement and a lease."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")

BATCH = 400  # keys of at most 1,024 bytes: below 512 KiB in an event


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
