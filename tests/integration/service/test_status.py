"""What a service tells its operator over the bus, and does when asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from libs.bus import Bus, connection
from libs.contracts import Event
from libs.db import Pool, transaction
from libs.errors import Invalid
from libs.outbox import Relay, depth, emit
from libs.status import OutboxAnswer, ReplayRequest, RetryRequest, ServiceStatus, answering
from libs.web import Readiness
from tests.support.bus import an_event, running, stored
from tests.support.eventually import eventually
from tests.support.fixtures import PoolFor, SignalsFor

WAIT_S = 1.0


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("service")


async def readiness() -> Readiness:
    return Readiness(ready=True, checks={"postgres": True})


@asynccontextmanager
async def two_processes(bus: Bus, pool: Pool) -> AsyncIterator[None]:
    """Two replicas of one service."""
    await bus.session()
    async with answering(bus, pool, "service", readiness), answering(bus, pool, "service", readiness):
        yield


async def commit(pool: Pool, *events: Event) -> None:
    async with transaction(pool) as tx:
        await emit(tx, events)


class Refusing:
    """A bus that takes no event."""

    def __init__(self, bus: Bus) -> None:
        self.ready, self.wait_ready = bus.ready, bus.wait_ready

    async def publish(self, subject: str, body: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        raise Invalid("too large")


async def test_every_process_says_how_it_is_and_what_was_refused(bus: Bus, pool: Pool, signals_for: SignalsFor) -> None:
    refused, waiting = an_event(), an_event()
    async with two_processes(bus, pool):
        await commit(pool, refused)
        await Relay(pool, await signals_for("service"), Refusing(bus)).leader.publish_left_behind(timedelta(0))
        await commit(pool, waiting)
        answers = [msgspec.json.decode(raw, type=ServiceStatus) for raw in await bus.ask("status", b"", WAIT_S)]
    assert len(answers) == 2
    for status in answers:
        assert (status.service, status.ready, status.checks, status.advice) == ("service", True, {"postgres": True}, [])
        assert status.outbox_depth == 2
        assert [(each.event_id, each.reason) for each in status.refused] == [(refused.id, "too large")]


async def test_one_process_of_a_service_retries_and_replays(bus: Bus, pool: Pool, signals_for: SignalsFor) -> None:
    event = an_event()
    signals = await signals_for("service")
    await bus.session()
    await commit(pool, event)
    await Relay(pool, signals, Refusing(bus)).leader.publish_left_behind(timedelta(0))

    async def nothing_left() -> bool:
        return await depth(pool) == 0

    async with two_processes(bus, pool), running(Relay(pool, signals, bus, poll_s=3600).run):
        retry = msgspec.json.encode(RetryRequest(event_ids=[event.id]))
        [answer] = await bus.ask("outbox.retry", retry, WAIT_S)
        assert msgspec.json.decode(answer, type=OutboxAnswer) == OutboxAnswer(service="service", events=1)
        await eventually(nothing_left)

        since = msgspec.json.encode(ReplayRequest(since=datetime.now(UTC) - timedelta(hours=1)))
        [answer] = await bus.ask("outbox.replay", since, WAIT_S)
        assert msgspec.json.decode(answer, type=OutboxAnswer) == OutboxAnswer(service="service", events=1)
        await eventually(nothing_left)
    assert [message.headers["Nats-Msg-Id"] for message in await stored(bus)] == [event.id, f"{event.id}#1"]


async def test_a_broker_whose_messages_are_too_small_is_said_with_what_to_set(
    bus: Bus, pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await bus.session()
    assert bus.carries_events()
    assert bus.advice() is None
    monkeypatch.setattr(connection, "MIN_PAYLOAD_BYTES", 64 * 1024 * 1024)
    assert not bus.carries_events()
    async with answering(bus, pool, "service", readiness):
        [raw] = await bus.ask("status", b"", WAIT_S)
    [advice] = msgspec.json.decode(raw, type=ServiceStatus).advice
    assert "max_payload: 8MB" in advice
    async with Bus.open(",".join(bus._servers), bus.namespace) as other:
        await other.session()
    assert advice in caplog.text
