"""The consumer of a service: its table of handlers, run on the bus."""

from __future__ import annotations

import asyncio
from functools import partial

from libs.bus.connection import Bus
from libs.bus.handlers import Handlers
from libs.bus.intake import Intake
from libs.bus.work import EventWork, LetterWork
from libs.db import Pool


class Consumer:
    """Applies every event of the table once, and every dead letter; any number may run beside each other."""

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
        """`context` is what `prepare` gets.

        `ack_wait_s`: after a process has died, how long until another gets what it was working on.
        `max_deliver`: attempts at an event whose handler raises an error that nobody named.
        `drain_s`: how long, after a stop, what runs may take to finish.
        """
        intake = partial(Intake, bus, concurrency=concurrency, ack_wait_s=ack_wait_s, drain_s=drain_s)
        self._intakes: list[Intake] = []
        if handlers.events:
            self._intakes.append(
                intake(
                    stream="EVENTS",
                    name=handlers.service,
                    filters=sorted(handlers.events),
                    work=EventWork(bus, pool, handlers, context, max_deliver),
                )
            )
        if handlers.letters:
            self._intakes.append(
                intake(
                    stream="DEAD",
                    name=f"{handlers.service}-dead",
                    filters=[f"dead.*.{tag}" for tag in sorted(handlers.letters)],
                    work=LetterWork(pool, handlers, max_deliver),
                )
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Handle until `stop` is set, then drain: what runs may finish, the rest is put back."""
        async with asyncio.TaskGroup() as group:
            for intake in self._intakes:
                group.create_task(intake.run(stop))
