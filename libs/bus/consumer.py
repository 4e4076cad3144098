"""Runs a service's table of handlers on the bus."""

from __future__ import annotations

import asyncio
from functools import partial

from libs.bus.connection import Bus
from libs.bus.handlers import Handlers
from libs.bus.processing import DeadLetterProcessor, EventProcessor
from libs.bus.receiver import Receiver
from libs.db import Pool


class Consumer:
    """Applies each event and each dead letter of the table once. Any number of consumers of a service may run."""

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        handlers: Handlers,
        context: object = None,
        *,
        concurrency: int = 16,
        ack_wait_s: float = 30.0,
        max_deliver: int = 8,
        drain_s: float = 30.0,
    ) -> None:
        """`context`: the second argument of each `prepare`.

        `concurrency`: messages handled at the same time.
        `ack_wait_s`: when a process dies, seconds until another one gets its messages.
        `max_deliver`: attempts at an event whose handler raises an error without a name of its own.
        `drain_s`: after a stop, how long running handlers may take to finish.
        """
        receiver = partial(Receiver, bus, concurrency=concurrency, ack_wait_s=ack_wait_s, drain_s=drain_s)
        self._receivers: list[Receiver] = []
        if handlers.events:
            self._receivers.append(
                receiver(
                    stream="EVENTS",
                    name=handlers.service,
                    filters=sorted(handlers.events),
                    process=EventProcessor(bus, pool, handlers, context, max_deliver),
                )
            )
        if handlers.letters:
            self._receivers.append(
                receiver(
                    stream="DEAD",
                    name=f"{handlers.service}-dead",
                    filters=[f"dead.*.{tag}" for tag in sorted(handlers.letters)],
                    process=DeadLetterProcessor(pool, handlers, max_deliver),
                )
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Handle messages until `stop` is set; then let running handlers finish, and put the other messages back."""
        async with asyncio.TaskGroup() as group:
            for receiver in self._receivers:
                group.create_task(receiver.run(stop))
