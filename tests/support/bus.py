"""What tests of events need: events to send, what the streams hold, and services that run for as long as a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from libs.bus import Bus, stream_name, unprefixed
from libs.contracts import UploadAborted

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stored:
    """A message as a stream holds it."""

    subject: str  # without the test's prefix
    data: bytes
    headers: dict[str, str]


def an_event(upload_id: str = "upload-1") -> UploadAborted:
    """Any event, with an id of its own."""
    return UploadAborted(at=datetime.now(UTC), upload_id=upload_id, project_id="proj-1", model_id="model-1")


async def stored(bus: Bus, stream: str = "EVENTS") -> list[Stored]:
    """Everything that the stream holds, oldest first."""
    js = (await bus.session()).js
    name = stream_name(bus.namespace, stream)
    state = (await js.stream_info(name)).state
    sequences = range(state.first_seq, state.last_seq + 1) if state.messages else ()
    messages = [await js.get_msg(name, seq) for seq in sequences]
    return [
        Stored(unprefixed(bus.namespace, msg.subject or ""), msg.data or b"", dict(msg.headers or {}))
        for msg in messages
    ]


@asynccontextmanager
async def running(*runs: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[None]:
    """Every `run(stop)` runs while the block does, and has ended in order after it."""
    stop = asyncio.Event()

    async def until_stopped(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        await run(stop)

    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(until_stopped(run))
        try:
            yield
        finally:
            stop.set()
