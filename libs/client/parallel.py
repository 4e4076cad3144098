"""A bounded number of workers over one list of work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def in_parallel(workers: int, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do `work` for each item, in order of starting, `workers` at a time.

    The first failure cancels the rest and is raised as itself, not in a group.
    """
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
