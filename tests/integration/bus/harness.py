"""A service with a relay and a consumer, whose handlers record what they did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from nats.js.errors import NotFoundError

from libs.bus import Bus, Consumer, DeadLetter, Handlers
from libs.contracts import Event, UploadAborted, encode_event, event_type
from libs.db import Pool, Tx
from libs.signals import Signals
from tests.support.bus import stored

SERVICE = "service"


@dataclass
class Harness:
    """A service's clients, and a record of what its handlers did."""

    bus: Bus
    pool: Pool
    signals: Signals
    handlers: Handlers = field(default_factory=lambda: Handlers(SERVICE))
    calls: list[str] = field(default_factory=list)  # event ids, one for each time a handler was entered
    called_again: asyncio.Condition = field(default_factory=asyncio.Condition)

    def consumer(self, context: object = None, **options: Any) -> Consumer:
        """A consumer of this service; several may run."""
        return Consumer(self.bus, self.pool, self.handlers, context, **options)

    async def send(self, event: Event, copy: int = 0) -> None:
        """Put an event on the stream as another service's relay would; another `copy` passes the dedup window."""
        await self.bus.session()
        await self.bus.publish(event_type(event), encode_event(event), {}, f"{event.id}#{copy}" if copy else event.id)

    async def called(self, event: Event) -> int:
        """Note that a handler was entered; returns how often it was with this event."""
        async with self.called_again:
            self.calls.append(event.id)
            self.called_again.notify_all()
        return self.calls.count(event.id)

    async def wait_for_calls(self, count: int) -> None:
        """Until handlers were entered `count` times."""
        async with asyncio.timeout(20), self.called_again:
            await self.called_again.wait_for(lambda: len(self.calls) >= count)

    async def apply(self, event: Event, tx: Tx) -> None:
        """An effect of a handler's transaction."""
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", event.id)

    def apply_each(self) -> None:
        """Handle UploadAborted by its effect alone."""

        @self.handlers.on(UploadAborted)
        async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
            await self.apply(event, tx)
            await self.called(event)
            return []

    async def applied(self) -> list[str]:
        """The ids of events whose effect was committed, once for each time."""
        return [event_id for (event_id,) in await self.pool.fetch("SELECT event_id FROM applied ORDER BY seq")]

    async def has_applied(self, *events: Event) -> bool:
        """Whether all these took effect."""
        return {event.id for event in events} <= set(await self.applied())

    async def letters(self) -> list[DeadLetter]:
        """What was given up."""
        return [DeadLetter.decode(message.data) for message in await stored(self.bus, "DEAD")]

    async def is_settled(self, stream: str = "EVENTS", consumer: str = SERVICE) -> bool:
        """Whether the consumer is there, and has answered every message for good."""
        js = (await self.bus.session()).js
        try:
            info = await js.consumer_info(f"{self.bus.namespace}_{stream}", f"{self.bus.namespace}_{consumer}")
        except NotFoundError:
            return False
        return not info.num_ack_pending and not info.num_pending
