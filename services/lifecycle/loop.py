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


async def run_on_signal(
    work: Callable[[], Awaitable[bool]],
    stop: asyncio.Event,
    signals: Signals,
    channel: str,
    poll_s: float,
    *,
    name: str,
) -> None:
    """Call `work` for as long as it returns True; then wait for a signal on `channel`, or for `poll_s`; until `stop`.

    `work` is never cut off: what is under way when `stop` is set ends by itself. Unavailable is logged, and tried again
    after `poll_s`.
    """
    with signals.subscribe(channel) as subscription:
        while not stop.is_set():
            try:
                if await work():
                    continue
            except Unavailable as error:
                log.warning("%s: will try again: %s", name, error)
            await unless_set(stop, subscription.wait(poll_s))
