"""What `Bus` promises: what publish says is true, and the connection is not the caller's business."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.errors import NotFoundError

from libs.bus import STREAMS, Bus, stream_name
from libs.errors import Invalid, Unavailable
from tests.support.bus import stored
from tests.support.eventually import eventually
from tests.support.stack import Stack

PROMPTLY_S = 1.0


async def publish(bus: Bus, msg_id: str, data: bytes = b"{}") -> None:
    await bus.publish("upload.aborted.v1", data, {"Slipway-Request-Id": "req_1"}, msg_id)


async def test_a_published_message_is_stored_with_its_headers(bus: Bus) -> None:
    assert await bus.wait_ready(10)
    await publish(bus, "1", b"\x00\xff")
    [message] = await stored(bus)
    assert (message.subject, message.data) == ("upload.aborted.v1", b"\x00\xff")
    assert message.headers == {"Nats-Msg-Id": "1", "Slipway-Request-Id": "req_1"}


async def test_the_broker_drops_what_is_published_twice_under_one_id(bus: Bus) -> None:
    await bus.session()
    await publish(bus, "1")
    await publish(bus, "1")
    assert len(await stored(bus)) == 1


async def test_streams_are_as_the_code_says(bus: Bus, namespace: str) -> None:
    js = (await bus.session()).js
    for stream in STREAMS:
        config = (await js.stream_info(stream_name(namespace, stream.name))).config
        assert config.max_age == stream.max_age_s
        assert set(config.subjects or []) == {f"{namespace}.{subject}" for subject in stream.subjects}


async def test_a_stream_of_an_older_version_is_brought_up_to_date(stack: Stack, bus: Bus, namespace: str) -> None:
    js = (await bus.session()).js
    name = stream_name(namespace, "EVENTS")
    config = (await js.stream_info(name)).config
    await js.update_stream(config.evolve(subjects=[f"{namespace}.upload.>"], max_age=3600, description="by hand"))

    async with Bus.open(stack.nats_url, namespace) as newer:
        await newer.session()
        updated = (await js.stream_info(name)).config
    assert len(updated.subjects or []) > 1
    assert updated.max_age == 7 * 24 * 3600
    assert updated.description == "by hand"  # what the operator has set stays


async def test_two_namespaces_do_not_meet(stack: Stack, bus: Bus, namespace: str) -> None:
    async with Bus.open(stack.nats_url, f"{namespace}x") as other:
        await other.session()
        await bus.session()
        await publish(bus, "1")
        assert await stored(other) == []


async def test_a_bus_opens_without_nats_and_is_ready_when_it_comes(stack: Stack, namespace: str) -> None:
    await stack.kill("nats")
    async with Bus.open(stack.nats_url, namespace) as bus:
        assert not bus.ready()
        async with asyncio.timeout(PROMPTLY_S):
            with pytest.raises(Unavailable):
                await publish(bus, "1")
        assert not await bus.wait_ready(0.1)
        await stack.start("nats")
        assert await bus.wait_ready(10)
        await publish(bus, "1")
        assert len(await stored(bus)) == 1


async def test_while_nats_is_away_publish_fails_promptly_and_nothing_is_sent_later(stack: Stack, bus: Bus) -> None:
    await bus.session()
    await stack.kill("nats")
    async with asyncio.timeout(PROMPTLY_S):
        with pytest.raises(Unavailable):
            await publish(bus, "while away")
    await stack.start("nats")
    assert await bus.wait_ready(10)
    assert await stored(bus) == []


async def test_what_is_in_flight_when_the_connection_breaks_fails_at_once(stack: Stack, bus: Bus) -> None:
    await bus.session()
    sending = [asyncio.create_task(publish(bus, str(number), b"x" * 10_000)) for number in range(500)]
    await stack.kill("nats")
    async with asyncio.timeout(PROMPTLY_S):
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), Unavailable}

    await stack.start("nats")
    assert await bus.wait_ready(10)
    kept = {message.headers["Nats-Msg-Id"] for message in await stored(bus)}
    acknowledged = {str(number) for number, outcome in enumerate(outcomes) if outcome is None}
    assert acknowledged <= kept


async def test_a_stream_that_was_deleted_is_made_again_by_the_next_publish(bus: Bus, namespace: str) -> None:
    js = (await bus.session()).js
    await js.delete_stream(stream_name(namespace, "EVENTS"))
    with pytest.raises(NotFoundError):
        await js.stream_info(stream_name(namespace, "EVENTS"))
    await asyncio.gather(*(publish(bus, str(number)) for number in range(20)))
    assert len(await stored(bus)) == 20


async def test_a_broker_that_comes_back_empty_gets_every_stream(stack: Stack, bus: Bus) -> None:
    await bus.session()
    await stack.lose_messages()

    async def ready() -> bool:
        return bus.ready()

    await eventually(ready)
    assert await stored(bus) == []


async def test_a_message_that_is_too_large_is_refused_and_not_called_unavailable(bus: Bus) -> None:
    await bus.session()
    with pytest.raises(Invalid):
        await publish(bus, "1", bytes(8 * 1024 * 1024))
    await publish(bus, "2", bytes(6 * 1024 * 1024))


async def test_a_server_that_hangs_is_found_out(stack: Stack, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections stay open, but nothing is answered: as after a power cut, or with a stopped process."""
    monkeypatch.setattr("libs.bus.session._PROBE_EVERY_S", 0.1)
    session = await bus.session()
    session.js._timeout = 0.5
    with stack.paused("nats"):
        async with asyncio.timeout(10):
            await session.lost.wait()
        with pytest.raises(Unavailable):
            await publish(bus, "1")
    assert await bus.wait_ready(10)
    await publish(bus, "2")
