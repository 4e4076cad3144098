"""Ending tasks: together with a stop, and for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_CANCEL_AGAIN_S = 0.5


async def unless_set(stop: asyncio.Event, work: Coroutine[object, object, object]) -> None:
    """Await `work` until it ends or `stop` is set; then it is cancelled. Raises: the error of `work`."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(working, stopping)
    if not working.cancelled():
        working.result()


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all have ended.

    Cancels repeatedly: asyncio.wait_for before Python 3.12, which nats-py and asyncpg use, loses a cancellation that
    comes at the same time as the result.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
