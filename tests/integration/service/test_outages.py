"""What a service does while Postgres refuses work for a time: all of it goes on afterwards, and no process ends."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from libs.bus import Bus, Handlers
from libs.config import ServiceConfig
from libs.contracts import Event, UploadAborted, UploadExpired, encode_event, event_type
from libs.db import Tx, transaction
from libs.service import Service, Spine, spine
from libs.signals import notify
from tests.support.bus import an_event, eventually, stored
from tests.support.fixtures import StartService
from tests.support.postgres import read_only
from tests.support.stack import Stack

SERVICES = ("gateway", "extractor", "validator", "lifecycle")


class Working:
    """A service with all that every service has: relay, signals, consumer, a sweeper."""

    def __init__(self, service: Service, shared: Spine) -> None:
        self.service = service
        self.shared = shared
        self.rounds = 0
        self.swept = 0
        self.running: asyncio.Task[bool] | None = None

    async def sweep(self) -> None:
        self.rounds += 1
        async with transaction(self.shared.pool) as tx:
            await tx.execute("INSERT INTO swept DEFAULT VALUES")
            await notify(tx, "swept")
        self.swept += 1

    async def goes_round(self, times: int) -> None:
        """Until the sweeper has tried that many times more."""
        enough = self.rounds + times
        await eventually(lambda: _is(self.rounds >= enough))

    async def answers(self, bus: Bus, event: Event) -> None:
        """Until what the handler emits about the event is on the stream."""

        async def is_answered() -> bool:
            return any(
                event.id.encode() in message.data for message in await stored(bus) if "expired" in message.subject
            )

        await eventually(is_answered, timeout_s=60)

    def lives(self) -> bool:
        return self.running is not None and not self.running.done()


@asynccontextmanager
async def working(url: str, stack: Stack, namespace: str, folder: Path) -> AsyncIterator[Working]:
    config = ServiceConfig(
        database_url=url, nats_url=stack.nats_url, s3_url="", namespace=namespace, http_host="127.0.0.1", http_port=0
    )
    handlers = Handlers("spine")

    @handlers.on(UploadAborted)
    async def answer(event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO swept DEFAULT VALUES")
        return [UploadExpired(at=datetime.now(UTC), upload_id=event.id, project_id="p", model_id="m")]

    service = Service("spine", config)
    shared = await spine(service, folder, handlers)
    await shared.pool.execute("CREATE TABLE swept (id serial)")
    parts = Working(service, shared)
    service.repeat("sweep", 0.02, parts.sweep)
    parts.running = asyncio.create_task(service.work())
    try:
        yield parts
    finally:
        service.stop.set()
        try:
            assert await parts.running
        finally:
            await service.close()


async def send(bus: Bus, event: Event) -> None:
    await bus.session()
    await bus.publish(event_type(event), encode_event(event), {}, event.id)


async def test_a_service_outlives_a_database_that_takes_no_writes(
    stack: Stack, namespace: str, bus: Bus, tmp_path: Path
) -> None:
    async with working(stack.postgres_url, stack, namespace, tmp_path) as parts:
        first, meanwhile = an_event(), an_event()
        await send(bus, first)
        await parts.answers(bus, first)
        async with read_only(stack):
            await eventually(lambda: _is(parts.rounds > parts.swept + 1))
            await send(bus, meanwhile)
            await parts.goes_round(20)
            assert parts.lives()
        swept = parts.swept
        await parts.answers(bus, meanwhile)
        await eventually(lambda: _is(parts.swept > swept))
        assert parts.lives()


@pytest.fixture
async def role(stack: Stack) -> AsyncIterator[str]:
    """A role of the test's own, which may make schemas."""
    name = f"r{secrets.token_hex(5)}"
    operator = await asyncpg.connect(stack.postgres_url)
    await operator.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    await operator.execute(f"GRANT CREATE ON DATABASE {urlsplit(stack.postgres_url).path[1:]} TO {name}")
    yield name
    await operator.execute(f"DROP OWNED BY {name} CASCADE")
    await operator.execute(f"DROP ROLE {name}")
    await operator.close()


async def test_a_service_outlives_statements_that_are_ended_for_their_time(
    stack: Stack, namespace: str, bus: Bus, tmp_path: Path, role: str
) -> None:
    operator = await asyncpg.connect(stack.postgres_url)

    async def limit(how: str) -> None:
        """The role's settings hold for new sessions, so the present ones end."""
        await operator.execute(f"ALTER ROLE {role} {how}")
        await operator.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", role)

    async with working(_as(stack.postgres_url, role), stack, namespace, tmp_path) as parts:
        first, meanwhile = an_event(), an_event()
        await send(bus, first)
        await parts.answers(bus, first)
        await limit("SET statement_timeout = '1ms'")
        async with operator.transaction():
            await operator.execute(f'LOCK TABLE "{namespace}_spine".swept')  # whatever waits for it is ended
            await send(bus, meanwhile)
            await parts.goes_round(10)
            assert parts.lives()
        await limit("RESET statement_timeout")
        swept = parts.swept
        await parts.answers(bus, meanwhile)
        await eventually(lambda: _is(parts.swept > swept))
        assert parts.lives()
    await operator.close()


async def test_no_service_ends_while_the_database_takes_no_writes(
    stack: Stack, namespace: str, start_service: StartService, tmp_path: Path
) -> None:
    settings = {"operator_key": "an-operators-key-0123456789"}
    processes = [await start_service(name, **(settings if name == "gateway" else {})) for name in SERVICES]
    logs = [tmp_path / f"{name}-{number}.log" for number, name in enumerate(SERVICES)]

    async def all_say(text: str) -> bool:
        assert [process.returncode for process in processes] == [None] * len(SERVICES)
        return all(text in log.read_text() for log in logs)

    await eventually(lambda: all_say("listening on"), timeout_s=60)
    async with read_only(stack):
        await eventually(lambda: all_say("read-only transaction"), timeout_s=60)
    for process in processes:
        process.terminate()
    assert [await process.wait() for process in processes] == [0] * len(SERVICES)


def _as(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{role}@{parts.hostname}:{parts.port}"))


async def _is(condition: bool) -> bool:
    return condition
