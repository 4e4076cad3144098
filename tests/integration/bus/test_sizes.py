"""Streams have a largest size: the oldest messages go, new ones are never refused."""

from __future__ import annotations

from libs.bus import Bus
from tests.support.stack import Stack

SIZE = 100_000
TAG = "upload.aborted.v1"


async def test_a_full_stream_loses_its_oldest_messages_and_takes_new_ones(stack: Stack, namespace: str) -> None:
    async with Bus.open(stack.nats_url, namespace, max_bytes={"EVENTS": SIZE}) as bus:
        js = (await bus.session()).js
        for number in range(300):
            await bus.publish(TAG, bytes(1000), {}, f"event {number}")
        info = await js.stream_info(f"{namespace}_EVENTS")

    assert info.state.bytes <= SIZE
    assert info.state.last_seq == 300
    assert info.state.first_seq > 100


async def test_an_existing_stream_gets_a_size_and_keeps_a_larger_one(stack: Stack, namespace: str) -> None:
    sizes = []
    for wanted in (0, SIZE, 2 * SIZE, SIZE, 0):  # as releases and settings that follow each other
        async with Bus.open(stack.nats_url, namespace, max_bytes={"EVENTS": wanted}) as bus:
            info = await (await bus.session()).js.stream_info(f"{namespace}_EVENTS")
            sizes.append(info.config.max_bytes)

    assert sizes == [-1, SIZE, 2 * SIZE, 2 * SIZE, 2 * SIZE]


async def test_a_broker_with_less_room_gets_streams_without_a_size(stack: Stack, namespace: str) -> None:
    """More than any disk has: the services start, and the log says so."""
    async with Bus.open(stack.nats_url, namespace, max_bytes={"EVENTS": 2**60}) as bus:
        await bus.session()
        await bus.publish(TAG, b"{}", {}, "event")
        info = await (await bus.session()).js.stream_info(f"{namespace}_EVENTS")

    assert info.config.max_bytes == -1
