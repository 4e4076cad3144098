"""Slots are bounded, shared between tenants, and never waited for without end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from libs.admission import Slots
from libs.errors import Overloaded, Unavailable

SOON_S = 0.01  # for those that are to be refused
LONG_S = 60.0  # for those that are to get their turn


async def test_no_more_than_there_are_and_a_refusal_says_when_to_come_again() -> None:
    slots = Slots(2, 2, wait_s=SOON_S)
    async with slots.take("a"), slots.take("b"):
        with pytest.raises(Unavailable) as refused:
            await slots.take("c").__aenter__()
        assert refused.value.retry_after_s == 2
        assert slots.taken == 2
    assert slots.taken == 0
    async with slots.take("c"):
        assert slots.held_by("c") == 1


async def test_one_tenant_leaves_room_for_others() -> None:
    slots = Slots(4, 3, wait_s=SOON_S)
    async with AsyncExitStack() as held:
        for _ in range(3):
            await held.enter_async_context(slots.take("greedy"))
        with pytest.raises(Overloaded):
            await slots.take("greedy").__aenter__()
        async with slots.take("modest"):
            assert slots.taken == 4


async def test_a_tenant_with_a_limit_of_its_own_has_that_instead() -> None:
    slots = Slots(4, 3, wait_s=SOON_S)
    async with slots.take("small", 1):
        with pytest.raises(Overloaded):
            await slots.take("small", 1).__aenter__()
    async with AsyncExitStack() as held:
        for _ in range(4):
            await held.enter_async_context(slots.take("large", 4))
        assert slots.held_by("large") == 4
    async with slots.take("small"), slots.take("small"):  # it has no limit of its own any more
        assert slots.held_by("small") == 2
    assert slots._at_most == {}


async def test_the_tenant_that_holds_the_fewest_is_next() -> None:
    """However many of the other's wait, and had waited before."""
    slots = Slots(2, 2, wait_s=LONG_S)
    served: list[str] = []

    async def work(name: str) -> None:
        async with slots.take(name[0]):
            served.append(name)

    first, second = slots.take("a"), slots.take("a")
    await first.__aenter__()
    await second.__aenter__()
    waiting = [asyncio.create_task(work(name)) for name in ("a1", "a2", "a3", "b1")]
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)
    await asyncio.gather(*waiting)
    assert served == ["b1", "a1", "a2", "a3"]
    assert slots.taken == 1
    await second.__aexit__(None, None, None)


async def test_whoever_gives_up_waiting_takes_no_slot() -> None:
    """Not even in the very moment in which a slot is given back, or its turn comes."""
    slots = Slots(1, 1, wait_s=LONG_S)
    held = slots.take("a")
    await held.__aenter__()
    first = asyncio.create_task(slots.take("b").__aenter__())
    second = asyncio.create_task(slots.take("c").__aenter__())
    await asyncio.sleep(0)
    first.cancel()
    await held.__aexit__(None, None, None)  # the turn is the second's
    assert slots.held_by("c") == 1
    second.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert second.cancelled()
    assert slots.taken == 0
    async with slots.take("d"):
        assert slots.taken == 1


async def test_an_error_inside_gives_the_slot_back() -> None:
    slots = Slots(1, 1)
    with pytest.raises(KeyError):
        async with slots.take("a"):
            raise KeyError
    assert slots.taken == 0
