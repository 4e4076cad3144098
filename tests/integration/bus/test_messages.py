"""What `tell`, `listen`, `ask` and `answer` promise: at most once each, and again after every reconnection."""

from __future__ import annotations

import asyncio

import pytest

from libs.bus import Bus
from libs.errors import Unavailable
from tests.support.eventually import eventually
from tests.support.stack import Stack

LONG_S = 30.0
PROMPTLY_S = 5.0


class Heard:
    """What was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def receive(self, body: bytes) -> None:
        self.bodies.append(body)
        if body == b"fail":
            raise ZeroDivisionError

    async def has(self, *bodies: bytes) -> bool:
        return set(bodies) <= set(self.bodies)


async def test_every_listener_gets_each_message_and_of_a_group_one(bus: Bus) -> None:
    await bus.session()
    one, other, first, second = Heard(), Heard(), Heard(), Heard()
    async with (
        bus.listen("progress.streams", one.receive),
        bus.listen("progress.streams", other.receive),
        bus.listen("progress.streams", first.receive, group="g"),
        bus.listen("progress.streams", second.receive, group="g"),
    ):
        for number in range(20):
            await bus.send("progress.streams", b"%d" % number)
        await bus.send("progress.other", b"unheard")
        everything = [b"%d" % number for number in range(20)]
        await eventually(lambda: one.has(*everything))
        await eventually(lambda: other.has(*everything))
        await eventually(lambda: _is(len(first.bodies + second.bodies) == 20))
    assert sorted(first.bodies + second.bodies) == sorted(everything)
    assert b"unheard" not in one.bodies


async def test_a_listener_that_raises_hears_what_comes_next(bus: Bus) -> None:
    await bus.session()
    heard = Heard()
    async with bus.listen("progress.streams", heard.receive):
        await bus.send("progress.streams", b"fail")
        await bus.send("progress.streams", b"next")
        await eventually(lambda: heard.has(b"fail", b"next"))


async def test_installations_do_not_hear_each_other(stack: Stack, bus: Bus, namespace: str) -> None:
    await bus.session()
    heard = Heard()
    async with Bus.open(stack.nats_url, f"{namespace}x") as other, bus.listen("progress.streams", heard.receive):
        await other.session()
        await other.send("progress.streams", b"theirs")
        await bus.send("progress.streams", b"ours")
        await eventually(lambda: heard.has(b"ours"))
    assert heard.bodies == [b"ours"]


async def test_listening_begins_without_a_connection_and_survives_its_loss(stack: Stack, namespace: str) -> None:
    await stack.kill("nats")
    heard = Heard()
    async with Bus.open(stack.nats_url, namespace) as bus, bus.listen("progress.streams", heard.receive):
        await bus.send("progress.streams", b"into the void")
        for body in (b"1", b"2"):
            await stack.start("nats")
            assert await bus.wait_ready(PROMPTLY_S)
            await bus.send("progress.streams", body)
            await eventually(lambda: heard.has(body))  # noqa: B023  # awaited in its round
            await stack.kill("nats")
            await eventually(lambda: _is(not bus.ready()))
    assert heard.bodies == [b"1", b"2"]


async def test_a_question_gets_every_answer(bus: Bus) -> None:
    await bus.session()

    async def one(body: bytes) -> bytes:
        return b"one " + body

    async def other(body: bytes) -> bytes:
        return b"other " + body

    async def fails(_: bytes) -> bytes:
        raise ZeroDivisionError

    async with bus.answer("status", one), bus.answer("status", other), bus.answer("status", fails):
        assert sorted(await bus.ask("status", b"?", 0.5)) == [b"one ?", b"other ?"]


async def test_a_question_that_nobody_answers_ends_at_once(bus: Bus) -> None:
    await bus.session()
    async with asyncio.timeout(PROMPTLY_S):
        assert await bus.ask("status", b"?", LONG_S) == []


async def test_a_question_without_a_connection_is_unavailable(stack: Stack, namespace: str) -> None:
    await stack.kill("nats")
    async with Bus.open(stack.nats_url, namespace) as bus:
        with pytest.raises(Unavailable):
            await bus.ask("status", b"?", LONG_S)


async def _is(condition: bool) -> bool:
    return condition
