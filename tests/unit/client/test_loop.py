"""Calls of the blocking client, and its end: whatever races, everybody gets an answer."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from libs.client.blocking.loop import LoopThread


async def answer(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def nothing() -> None:
    """The last thing that a loop does."""


def test_calls_are_answered_and_raise_what_they_raise() -> None:
    async def fail() -> None:
        raise LookupError("no")

    loop = LoopThread()
    assert loop.run(answer(1)) == 1
    with pytest.raises(LookupError, match="no"):
        loop.run(fail())
    loop.finish(nothing())


def test_what_is_under_way_at_the_end_is_cancelled() -> None:
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    loop = LoopThread()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(loop.run, wait())
        assert begun.wait(60)
        loop.finish(nothing())

        with pytest.raises(CancelledError):
            waiting.result(60)


def test_of_calls_that_race_with_the_end_none_waits_for_ever() -> None:
    for _ in range(50):
        loop = LoopThread()
        go = threading.Barrier(5)

        def call(loop: LoopThread = loop, go: threading.Barrier = go) -> int | None:
            go.wait()
            try:
                return loop.run(answer(1))
            except (CancelledError, RuntimeError):
                return None

        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(call) for _ in range(4)]
            go.wait()
            loop.finish(nothing())
            assert {each.result(60) for each in calls} <= {1, None}
