"""Answers an operator's requests over the bus: status, retrying and replaying the outbox."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib import metadata

import msgspec

from libs import outbox
from libs.bus import Bus
from libs.db import Pool
from libs.errors import Invalid, Unavailable
from libs.outbox import Refused
from libs.web import Readiness

STATUS, RETRY, REPLAY = "status", "outbox.retry", "outbox.replay"  # subjects for `bus.ask`

log = logging.getLogger(__name__)


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one process to `ask("status")`."""

    service: str
    instance: str  # host and process id
    version: str
    ready: bool
    checks: dict[str, bool]  # of each dependency, as in /readyz
    advice: list[str] = []  # settings that the operator should change
    outbox_depth: int | None = None  # None while the database does not answer
    refused: list[Refused] = []  # events that the broker refuses, the oldest first


class RetryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `ask("outbox.retry")`."""

    event_ids: list[str] | None = None  # None: all that were refused


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `ask("outbox.replay")`: publish again the events emitted since then, or these events."""

    since: datetime | None = None  # UTC
    event_ids: list[str] | None = None


class OutboxAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "outbox.retry" and "outbox.replay", by one process of each service."""

    service: str
    events: int  # to be published again


@asynccontextmanager
async def answering(
    bus: Bus, pool: Pool, service: str, readiness: Callable[[], Awaitable[Readiness]]
) -> AsyncIterator[None]:
    """Answer an operator's requests until the block ends: each process its status, one of a service the rest."""

    async def status(_: bytes) -> bytes:
        return msgspec.json.encode(await _status(bus, pool, service, await readiness()))

    async def retry(body: bytes) -> bytes:
        asked = msgspec.json.decode(body or b"{}", type=RetryRequest)
        return msgspec.json.encode(OutboxAnswer(service=service, events=await outbox.retry(pool, asked.event_ids)))

    async def replay(body: bytes) -> bytes:
        asked = msgspec.json.decode(body, type=ReplayRequest)
        if asked.since is None and asked.event_ids is None:
            raise Invalid("A replay needs 'since' or 'event_ids'.")
        count = await outbox.replay(pool, since=asked.since, event_ids=asked.event_ids)
        log.warning("outbox replayed", extra={"since": asked.since, "events": count})
        return msgspec.json.encode(OutboxAnswer(service=service, events=count))

    async with AsyncExitStack() as opened:
        await opened.enter_async_context(bus.answer(STATUS, status))
        await opened.enter_async_context(bus.answer(RETRY, retry, group=service))
        await opened.enter_async_context(bus.answer(REPLAY, replay, group=service))
        yield


async def _status(bus: Bus, pool: Pool, service: str, readiness: Readiness) -> ServiceStatus:
    depth: int | None = None
    refused: list[Refused] = []
    try:
        depth, refused = await outbox.depth(pool), await outbox.refused(pool)
    except Unavailable as error:
        log.debug("status without the outbox: %s", error)
    return ServiceStatus(
        service=service,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        version=metadata.version("slipway"),
        ready=readiness.ready,
        checks=readiness.checks,
        advice=[advice] if (advice := bus.advice()) else [],
        outbox_depth=depth,
        refused=refused,
    )
