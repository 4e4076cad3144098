"""The bus: a session with NATS whenever there can be one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import nats.errors

from libs.bus.backlog import Backlog, backlogs
from libs.bus.messages import Listener, Receive, Respond, ask
from libs.bus.session import Session
from libs.contracts.limits import MAX_EVENT_BYTES
from libs.errors import Unavailable
from libs.tasks import end

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
MIN_PAYLOAD_BYTES = MAX_EVENT_BYTES * 4 // 3 + 64 * 1024  # an event as its dead letter has it: base64, and the reason

log = logging.getLogger(__name__)


class Bus:
    """Connects in the background, for ever. While it cannot, publishing raises Unavailable at once."""

    def __init__(self, url: str, namespace: str = "", *, replicas: int = 1) -> None:
        """`url`: nats://host:port[,nats://host:port…]; `replicas`: of each stream, at least."""
        self.namespace = namespace
        self._replicas = replicas
        self._servers = [server.strip() for server in url.split(",")]
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._listeners: list[Listener] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, namespace: str = "", *, replicas: int = 1) -> AsyncIterator[Bus]:
        """A bus that is connected, or is trying to be: a start never waits for NATS."""
        bus = cls(url, namespace, replicas=replicas)
        task = asyncio.create_task(bus._run(), name="bus")
        try:
            yield bus
        finally:
            await end(task)

    def ready(self) -> bool:
        """Whether the broker is connected, with its streams in place."""
        return self._session is not None and not self._session.lost.is_set()

    def carries_events(self) -> bool:
        """Whether the broker that is connected takes the largest event, and its dead letter."""
        return self._session is not None and self._session.max_payload >= MIN_PAYLOAD_BYTES

    def advice(self) -> str | None:
        """What the operator should set, if the broker does not take all events; None while it is not connected."""
        if self._session is None or self.carries_events():
            return None
        return (
            f"NATS takes messages of {self._session.max_payload} bytes, and an event's dead letter may have "
            f"{MIN_PAYLOAD_BYTES}: set `max_payload: 8MB` in its configuration and reload it."
        )

    async def wait_ready(self, timeout_s: float) -> bool:
        """True as soon as `ready`, False after `timeout_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        return self.ready()

    async def session(self) -> Session:
        """The present session, or the next one."""
        while True:
            await self._connected.wait()
            if self._session is not None:
                return self._session

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, msg_id: str = ""
    ) -> None:
        """Store a message on the stream of `subject` (without namespace); returns after the broker's PubAck.

        Of messages with the same `msg_id` within two minutes the broker keeps one.
        Raises: Unavailable at once where there is no connection, within seconds where there is no answer; Invalid if
        the message is too large.
        """
        if self._session is None or self._session.lost.is_set():
            raise Unavailable("The message broker is not connected.")
        await self._session.publish(subject, body, headers or {}, msg_id)

    async def tell(self, subject: str, body: bytes) -> None:
        """Send to whoever listens to `subject` (without namespace) now: at most once, and not while not connected."""
        if self._session is not None:
            with suppress(OSError, nats.errors.Error):
                await self._session.send(subject, body)

    @asynccontextmanager
    async def listen(self, subject: str, receive: Receive, group: str = "") -> AsyncIterator[None]:
        """Call `receive(body)` for what is told to `subject` while the block lasts, again after each reconnection.

        Of the listeners of one `group` one gets each message; without, each does. What `receive` raises is logged.
        """
        async with self._listening(Listener(subject, group, receive)):
            yield

    @asynccontextmanager
    async def answer(self, subject: str, respond: Respond, group: str = "") -> AsyncIterator[None]:
        """Answer `ask` with `await respond(body)` while the block lasts; whatever it raises is logged, not answered."""
        async with self._listening(Listener(subject, group, respond)):
            yield

    async def ask(self, subject: str, body: bytes, wait_s: float) -> list[bytes]:
        """Every answer that comes within `wait_s` seconds; none, at once, where nobody listens.

        Raises: Unavailable without a connection.
        """
        if self._session is None:
            raise Unavailable("The message broker is not connected.")
        try:
            return await ask(self._session, subject, body, wait_s)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"The message broker is not answering ({error or type(error).__name__}).") from error

    async def backlogs(self) -> list[Backlog]:
        """What waits for each service that ever consumed events. Raises: Unavailable without a connection."""
        if self._session is None:
            raise Unavailable("The message broker is not connected.")
        try:
            return await backlogs(self._session)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"The message broker is not answering ({error or type(error).__name__}).") from error

    @asynccontextmanager
    async def _listening(self, listener: Listener) -> AsyncIterator[None]:
        self._listeners.append(listener)
        try:
            if self._session is not None:
                with suppress(OSError, nats.errors.Error):  # lost: it joins the next
                    await listener.join(self._session)
            yield
        finally:
            self._listeners.remove(listener)
            await listener.leave()

    async def _run(self) -> None:
        """Hold a session, and when it is lost, the next."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with Session.open(self._servers, self.namespace, self._replicas) as session:
                    pause_s = _FIRST_PAUSE_S
                    await self._hold(session)
            except (OSError, nats.errors.Error) as error:
                first = pause_s == _FIRST_PAUSE_S  # an outage of hours is not to fill the log
                log.log(
                    logging.WARNING if first else logging.DEBUG,
                    "NATS cannot be used: %s",
                    error or type(error).__name__,
                )
            except Exception:  # the client library's own faults are not to end the bus
                log.exception("NATS session failed")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _hold(self, session: Session) -> None:
        """Be ready for as long as the session lasts."""
        while waiting := [each for each in self._listeners if each.session is not session]:
            await waiting[0].join(session)
        log.info("NATS connected")
        self._session = session
        if advice := self.advice():
            log.warning(advice)
        self._connected.set()
        try:
            await session.lost.wait()
            log.warning("NATS connection lost")
        finally:
            self._connected.clear()
            self._session = None
