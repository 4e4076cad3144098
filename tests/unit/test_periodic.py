"""The loop of everything that repeats."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.errors import NotFound, Unavailable
from libs.periodic import AT_ONCE, repeat
from libs.signals import Subscription


async def test_it_goes_on_after_unavailable_and_stops_at_once(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise Unavailable("Postgres is away")
        if rounds == 4:
            stop.set()

    await asyncio.wait_for(repeat(stop, work, 0.001, name="sweep"), 5)
    assert rounds == 4
    assert "sweep: will try again: Postgres is away" in caplog.text


async def test_it_does_not_hide_an_error_without_a_name() -> None:
    async def work() -> None:
        raise NotFound

    with pytest.raises(NotFound):
        await repeat(asyncio.Event(), work, 1, name="sweep")


async def test_the_work_says_how_long_to_pause() -> None:
    stop = asyncio.Event()
    calls: list[float] = []

    async def work() -> float:
        calls.append(time.monotonic())
        if len(calls) == 4:
            stop.set()
        return 0.2 if len(calls) == 3 else AT_ONCE

    await asyncio.wait_for(repeat(stop, work, 3600, name="work"), 5)
    assert calls[3] - calls[2] >= 0.2
    assert calls[2] - calls[0] < 0.2


async def test_a_signal_ends_a_pause() -> None:
    stop, wake = asyncio.Event(), Subscription("")
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            stop.set()

    asyncio.get_running_loop().call_later(0.05, wake.signal)
    await asyncio.wait_for(repeat(stop, work, 3600, name="work", wake=wake), 5)
    assert calls == 2


async def test_a_stop_ends_a_pause_but_no_call() -> None:
    stop, wake = asyncio.Event(), Subscription("")
    finished = 0

    async def work() -> None:
        nonlocal finished
        asyncio.get_running_loop().call_later(0.01, stop.set)
        await asyncio.sleep(0.05)
        finished += 1

    await asyncio.wait_for(repeat(stop, work, 3600, name="work", wake=wake), 5)
    assert finished == 1
