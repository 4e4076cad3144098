"""Waiting for something that signals nothing: ask again until it holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import requests

T = TypeVar("T")

ASK_EVERY_S = 0.02
ASK_PROCESS_EVERY_S = 0.05


async def eventually(holds: Callable[[], Awaitable[object]], timeout_s: float = 20.0) -> None:
    """Await `holds()` again and again until it returns something true. Raises: TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110  # what it asks about sets no event of ours
            await asyncio.sleep(ASK_EVERY_S)


def eventually_sync(look: Callable[[], T], within_s: float = 60) -> T:
    """Call `look` until it raises no AssertionError, and return its result; for tests of whole processes.

    Calls it again after a refused or broken connection too, since the process may just be starting.
    Raises: AssertionError after `within_s` seconds, with the last one's message.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return look()
        except (AssertionError, requests.ConnectionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:g} s: {error}") from error
        time.sleep(ASK_PROCESS_EVERY_S)
