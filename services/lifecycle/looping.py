"""Work that waits for a signal, and looks now and then without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from libs.errors import Unavailable
from libs.signals import Signals
from libs.tasks import unless_set

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The process is stopping, or another one has taken over."""


async def keep_doing(
    work: Callable[[], Awaitable[bool]],
    stop: asyncio.Event,
    signals: Signals,
    channel: str,
    poll_s: float,
    *,
    name: str,
) -> None:
    """Call `work` for as long as it says True; then wait for a signal on `channel`, or for the interval; until `stop`.

    `work` is never cut off: what is under way when `stop` is set ends by itself. Unavailable is logged, and tried again
    after the interval.
    """
    with signals.subscribe(channel) as news:
        while not stop.is_set():
            try:
                if await work():
                    continue
            except Unavailable as trouble:
                log.warning("%s: will try again: %s", name, trouble)
            await unless_set(stop, news.wait(poll_s))
