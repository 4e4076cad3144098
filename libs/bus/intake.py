"""A durable pull consumer and what is being worked on: bound anew after every loss, drained at the end."""

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
from libs.bus.pull import Pull, PullLostError
from libs.bus.session import Session
from libs.bus.streams import prefixed, stream_name
from libs.outbox import REQUEST_ID_HEADER, TRACEPARENT_HEADER
from libs.tasks import end, unless_set

_MAX_ACK_PENDING = 20_000  # messages put back for later count too, and are not to hold up the others
_PAUSE_S = 0.5
_FIRST_LOOK_S, _LOOK_EVERY_S = 1.0, 30.0  # at the consumer's filter

log = logging.getLogger(__name__)


class Job:
    """A message being worked on. Its answer goes to its latest delivery: the first may belong to a lost session."""

    def __init__(self, msg: Msg, tag: str) -> None:
        """`tag`: the message's subject without the installation's prefix."""
        self.tag = tag
        self.body = msg.data
        self.headers: dict[str, str] = msg.headers or {}
        self.delivered = msg.metadata.num_delivered
        self.key = _key(msg)
        self.stored_at = msg.metadata.timestamp  # UTC, when the broker got it
        self.begun_at = asyncio.get_running_loop().time()
        self.latest = msg

    @property
    def context_headers(self) -> dict[str, str]:
        """On whose behalf: the request id and trace that the message carries."""
        return {name: self.headers[name] for name in (REQUEST_ID_HEADER, TRACEPARENT_HEADER) if name in self.headers}

    async def ack(self) -> None:
        """Done. An answer that gets lost means one more delivery, which finds its inbox row."""
        await self._answer(self.latest.ack())

    async def nak(self, delay_s: float = 0.0) -> None:
        """Put it back, to come again after `delay_s` seconds."""
        await self._answer(self.latest.nak(delay_s))

    async def term(self) -> None:
        """Never again."""
        await self._answer(self.latest.term())

    async def in_progress(self) -> None:
        """Still at it: `ack_wait` begins anew."""
        await self._answer(self.latest.in_progress())

    async def _answer(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except nats.errors.Error as error:
            log.debug("answer to %s lost, it will be delivered again: %s", self.tag, error)


class Intake:
    """Runs `work` for each message of a consumer, at most `concurrency` at a time. `work` answers the message."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        name: str,
        filters: Sequence[str],
        work: Callable[[Job], Awaitable[None]],
        concurrency: int,
        ack_wait_s: float,
        drain_s: float,
    ) -> None:
        """`filters`: subjects without the installation's prefix."""
        self._bus = bus
        self._stream = stream
        self._name = name
        self._filters = filters
        self._work = work
        self._concurrency = concurrency
        self._ack_wait_s = ack_wait_s
        self._drain_s = drain_s
        self._jobs: dict[tuple[int, datetime], Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pull: Pull | None = None
        self._missed: list[str] = []  # subjects that the consumer has gone past

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then let what runs finish, and put back what does not in time."""
        beating = asyncio.create_task(self._keep_alive(), name=f"{self._name} heart-beat")
        try:
            while not stop.is_set():
                await unless_set(stop, self._consume())
                await unless_set(stop, asyncio.sleep(_PAUSE_S))  # a broker that fails is not helped by haste
            await self._drain()
        finally:
            await end(*self._tasks)  # each puts its message back
            await end(beating)

    async def _consume(self) -> None:
        """Take messages for as long as the session and the consumer last."""
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
            log.warning("%s: binding to %s anew: %s", self._name, self._stream, error or type(error).__name__)
        finally:
            self._pull = None

    @asynccontextmanager
    async def _keeping_filter(self, session: Session, name: str) -> AsyncIterator[None]:
        """Look now and then whether our subjects are still in the filter.

        NATS has no compare-and-set for it: another release that bound at the same moment may have left ours out.
        """

        async def keep() -> None:
            pause_s = _FIRST_LOOK_S
            while True:
                try:
                    await self._catch_up(session)
                    await asyncio.sleep(pause_s)
                    pause_s = _LOOK_EVERY_S
                    self._missed += await session.ensure_consumer(self._stream, self._config(name))
                except (OSError, nats.errors.Error) as error:
                    log.debug("%s: filter not seen: %s", self._name, error or type(error).__name__)
                    await asyncio.sleep(_FIRST_LOOK_S)

        keeping = asyncio.create_task(keep(), name=f"{self._name} filter")
        try:
            yield
        finally:
            await end(keeping)

    async def _catch_up(self, session: Session) -> None:
        """What was sent before our subjects were in the filter: who emits a new type may be rolled out before us."""
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
            max_deliver=-1,  # we count ourselves: the server would drop a message silently
            max_ack_pending=_MAX_ACK_PENDING,
        )

    def _room(self) -> int:
        return self._concurrency - len(self._tasks)

    def _receive(self, msg: Msg, tag: str) -> None:
        """Start on a message; one that is being worked on already only changes where its answer goes."""
        running = self._jobs.get(_key(msg))
        if running is not None:
            running.latest = msg
            return
        job = Job(msg, tag)
        self._jobs[job.key] = job
        task = asyncio.create_task(self._run_job(job), name=f"{self._name} {tag}")
        task.add_done_callback(self._finished)
        self._tasks.add(task)

    async def _run_job(self, job: Job) -> None:
        try:
            await self._work(job)
        except asyncio.CancelledError:
            await job.nak()
            raise
        finally:
            del self._jobs[job.key]

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: not answered, it will be delivered again", task.get_name(), exc_info=task.exception())
        if self._pull is not None:
            self._pull.wake()

    async def _keep_alive(self) -> None:
        """Heart-beats, well within `ack_wait`, for whatever runs that long."""
        interval_s = self._ack_wait_s / 3
        while True:
            await asyncio.sleep(interval_s)
            old = asyncio.get_running_loop().time() - interval_s / 2
            for job in [job for job in self._jobs.values() if job.begun_at < old]:
                await job.in_progress()

    async def _drain(self) -> None:
        """Let what runs finish, within a limit."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._drain_s)
            if late:
                log.warning("%s: %d messages put back unfinished", self._name, len(late))


def _key(msg: Msg) -> tuple[int, datetime]:
    """Which message this is a delivery of; the time tells apart a stream that was made anew."""
    return msg.metadata.sequence.stream, msg.metadata.timestamp
