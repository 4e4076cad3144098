"""Which objects were read is told over plain NATS, each once an hour by each process."""

from __future__ import annotations

import msgspec
import pytest

from libs import reads as module
from libs.bus import Bus
from libs.contracts import ObjectsRead
from libs.reads import SUBJECT, Reads
from tests.support.eventually import eventually


async def test_each_object_is_told_once_an_hour(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is read; nothing at all where there is no cold tier."""
    heard: list[str] = []

    async def receive(body: bytes) -> None:
        heard.extend(msgspec.json.decode(body, type=ObjectsRead).keys)

    async def all_heard() -> bool:
        return "end" in heard

    async with bus.listen(SUBJECT, receive):
        await bus.session()
        reads, unwanted = Reads(), Reads(wanted=False)
        for _ in range(3):
            for key in ("a", "b", "a"):
                reads.note(key)
                unwanted.note("never")
            await reads.publish(bus)
            await unwanted.publish(bus)
        monkeypatch.setattr(module, "AGAIN_AFTER_S", 0)
        await reads.publish(bus)
        for key in ("a", "end"):
            reads.note(key)
        await reads.publish(bus)
        await eventually(all_heard)
    assert heard == ["a", "b", "a", "end"]


async def test_what_is_remembered_is_bounded(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest ago is forgotten, and told again."""
    monkeypatch.setattr(module, "KEYS_AT_MOST", 3)
    reads = Reads()
    for number in range(10):
        reads.note(f"key {number}")
    await reads.publish(bus)
    reads.note("key 0")
    reads.note("more")
    await reads.publish(bus)
    assert [*reads._told] == ["key 1", "key 2", "more"]
