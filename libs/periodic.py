"""The loop of every background task that repeats: sweepers, workers that claim rows, the renewal of leases."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from libs.errors import Unavailable
from libs.signals import Subscription
from libs.tasks import unless_set

AT_ONCE = 0.0  # returned by `work` when there is more to do

log = logging.getLogger(__name__)


async def repeat(
    stop: asyncio.Event,
    work: Callable[[], Awaitable[float | None]],
    interval_s: float,
    *,
    name: str,
    wake: Subscription | None = None,
) -> None:
    """Call `work()` now, and again after each pause, until `stop` is set. A call is never cut off by `stop`.

    The pause is what `work` returns, in seconds; where it returns None, about `interval_s`, varied by a tenth so that
    replicas that start together do not stay in step. A signal on `wake` ends a pause early.

    Unavailable is logged, and `work` is called again after the interval; any other error is raised.
    """
    while not stop.is_set():
        pause_s = None
        try:
            pause_s = await work()
        except Unavailable as error:
            log.warning("%s: will try again: %s", name, error)
        if pause_s is None:
            pause_s = interval_s * random.uniform(0.9, 1.1)  # noqa: S311  # no secret
        if pause_s > 0:
            await _pause(stop, wake, pause_s)


async def _pause(stop: asyncio.Event, wake: Subscription | None, pause_s: float) -> None:
    """Return after `pause_s` seconds, or as soon as `stop` is set or `wake` is signalled."""
    if wake is not None:
        await unless_set(stop, wake.wait(pause_s))
        return
    try:
        async with asyncio.timeout(pause_s):
            await stop.wait()
    except TimeoutError:
        return
