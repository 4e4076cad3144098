"""Receives the messages of a durable consumer: binds again after each loss of the connection, drains at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from libs.bus.connection import Bus
from libs.bus.delivery import Delivery, key_of
from libs.bus.pull import Pull, PullLostError
from libs.bus.session import Session
from libs.bus.streams import prefixed, stream_name
from libs.tasks import end, unless_set

_MAX_ACK_PENDING = 20_000  # includes messages put back for later, which must not hold up the others
_PAUSE_S = 0.5
_FIRST_CHECK_S, _CHECK_EVERY_S = 1.0, 30.0  # of the consumer's filter

log = logging.getLogger(__name__)


class Receiver:
    """Calls `process`, which answers the message, for each message of a consumer; at most `concurrency` at a time."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        name: str,
        filters: Sequence[str],
        process: Callable[[Delivery], Awaitable[None]],
        concurrency: int,
        ack_wait_s: float,
        drain_s: float,
    ) -> None:
        """`filters`: subjects without the installation's prefix."""
        self._bus = bus
        self._stream = stream
        self._name = name
        self._filters = filters
        self._process = process
        self._concurrency = concurrency
        self._ack_wait_s = ack_wait_s
        self._drain_s = drain_s
        self._deliveries: dict[tuple[int, datetime], Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pull: Pull | None = None
        self._missed: list[str] = []  # subjects added to the filter after messages of theirs were stored

    async def run(self, stop: asyncio.Event) -> None:
        """Receive until `stop` is set; then let running messages finish, and put back those that do not in time."""
        beating = asyncio.create_task(self._keep_alive(), name=f"{self._name} heart-beat")
        try:
            while not stop.is_set():
                await unless_set(stop, self._consume())
                await unless_set(stop, asyncio.sleep(_PAUSE_S))  # do not overload a broker that is failing
            await self._drain()
        finally:
            await end(*self._tasks)  # each puts its message back
            await end(beating)

    async def _consume(self) -> None:
        """Receive messages until the session or the consumer is lost."""
        session = await self._bus.session()
        name = stream_name(self._bus.namespace, self._name)

        def receive(msg: Msg) -> None:
            self._receive(msg, session.tag_of(msg))

        try:
            await session.ensure_streams()
            self._missed += await session.ensure_consumer(self._stream, self._config(name))
            async with (
                self._keeping_filter(session, name),
                Pull.open(session, self._stream, name, receive, self._room) as self._pull,
            ):
                await unless_set(session.lost, self._pull.watch())
        except (OSError, nats.errors.Error, PullLostError) as error:
            log.warning("%s: binding to %s again: %s", self._name, self._stream, error or type(error).__name__)
        finally:
            self._pull = None

    @asynccontextmanager
    async def _keeping_filter(self, session: Session, name: str) -> AsyncIterator[None]:
        """Check regularly that this service's subjects are in the consumer's filter.

        NATS has no compare-and-set for it: another release that bound at the same moment may have left them out.
        """

        async def keep() -> None:
            pause_s = _FIRST_CHECK_S
            while True:
                try:
                    await self._catch_up(session)
                    await asyncio.sleep(pause_s)
                    pause_s = _CHECK_EVERY_S
                    self._missed += await session.ensure_consumer(self._stream, self._config(name))
                except (OSError, nats.errors.Error) as error:
                    log.debug("%s: filter not checked: %s", self._name, error or type(error).__name__)
                    await asyncio.sleep(_FIRST_CHECK_S)

        keeping = asyncio.create_task(keep(), name=f"{self._name} filter")
        try:
            yield
        finally:
            await end(keeping)

    async def _catch_up(self, session: Session) -> None:
        """Send again what was stored before its subject was in the filter: its sender may be rolled out before us."""
        while self._missed:
            count = await session.send_again(self._stream, self._missed[0])
            log.info("%s: %d messages of %s sent again", self._name, count, self._missed.pop(0))

    def _config(self, name: str) -> ConsumerConfig:
        return ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subjects=[prefixed(self._bus.namespace, subject) for subject in self._filters],
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_deliver=-1,  # counted in `processing`: the server would drop a message silently
            max_ack_pending=_MAX_ACK_PENDING,
        )

    def _room(self) -> int:
        return self._concurrency - len(self._tasks)

    def _receive(self, msg: Msg, tag: str) -> None:
        """Start processing a message; if it is in process already, only change where its answer goes."""
        running = self._deliveries.get(key_of(msg))
        if running is not None:
            running.latest = msg
            return
        delivery = Delivery(msg, tag)
        self._deliveries[delivery.key] = delivery
        task = asyncio.create_task(self._run(delivery), name=f"{self._name} {tag}")
        task.add_done_callback(self._finished)
        self._tasks.add(task)

    async def _run(self, delivery: Delivery) -> None:
        try:
            await self._process(delivery)
        except asyncio.CancelledError:
            await delivery.nak()
            raise
        finally:
            del self._deliveries[delivery.key]

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: not answered, it will be delivered again", task.get_name(), exc_info=task.exception())
        if self._pull is not None:
            self._pull.wake()

    async def _keep_alive(self) -> None:
        """Extend `ack_wait` of messages that take long."""
        interval_s = self._ack_wait_s / 3
        while True:
            await asyncio.sleep(interval_s)
            old = asyncio.get_running_loop().time() - interval_s / 2
            for delivery in [each for each in self._deliveries.values() if each.begun_at < old]:
                await delivery.in_progress()

    async def _drain(self) -> None:
        """Let running messages finish, for at most `drain_s`."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._drain_s)
            if late:
                log.warning("%s: %d messages put back unfinished", self._name, len(late))
