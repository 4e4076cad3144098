"""A service at work in the test's process: relay, signals, consumer and a sweeper on the real dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from libs.bus import Bus, Handlers
from libs.config import ServiceConfig
from libs.contracts import Event, UploadAborted, UploadExpired, encode_event, event_type
from libs.db import Tx, transaction
from libs.service import Connections, Service, connect
from libs.signals import notify
from tests.support.bus import stored
from tests.support.eventually import eventually
from tests.support.stack import Stack


class RunningService:
    """A service with all that every service has: relay, signals, consumer, a sweeper."""

    def __init__(self, service: Service, shared: Connections) -> None:
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
async def working(
    url: str, stack: Stack, namespace: str, folder: Path, direct_url: str | None = None
) -> AsyncIterator[RunningService]:
    config = ServiceConfig(
        database_url=url,
        database_direct_url=direct_url,
        nats_url=stack.nats_url,
        s3_url="",
        namespace=namespace,
        http_host="127.0.0.1",
        http_port=0,
        unready_s=0,
    )
    handlers = Handlers("service")

    @handlers.on(UploadAborted)
    async def answer(event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO swept DEFAULT VALUES")
        return [UploadExpired(at=datetime.now(UTC), upload_id=event.id, project_id="p", model_id="m")]

    service = Service("service", config)
    shared = await connect(service, folder, handlers)
    async with transaction(shared.pool) as tx:
        await tx.execute("CREATE TABLE swept (id serial)")
    parts = RunningService(service, shared)
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


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{role}@{parts.hostname}:{parts.port}"))


async def _is(condition: bool) -> bool:
    return condition
