"""Waiting, from outside of the processes, for what announces itself to nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import requests

T = TypeVar("T")

LOOK_EVERY_S = 0.05


def eventually(look: Callable[[], T], within_s: float = 60) -> T:
    """Call `look` until it returns without an AssertionError, and return what it does; after `within_s` that error.

    A refused or broken connection is a reason to look again too, since whom we ask may just be starting.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return look()
        except (AssertionError, requests.ConnectionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:g} s: {error}") from error
        time.sleep(LOOK_EVERY_S)
