"""The bus: one connection to NATS, made again after each loss."""

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
MIN_PAYLOAD_BYTES = MAX_EVENT_BYTES * 4 // 3 + 64 * 1024  # a dead letter: the event in base64, and the reason

log = logging.getLogger(__name__)


class Bus:
    """Keeps a session with NATS in the background. While there is none, publishing raises Unavailable at once."""

    def __init__(
        self, url: str, namespace: str = "", *, replicas: int = 1, max_bytes: Mapping[str, int] | None = None
    ) -> None:
        """`url`: nats://host:port[,nats://host:port…]; `replicas`: of each stream, at least; `max_bytes`: by stream."""
        self.namespace = namespace
        self._replicas = replicas
        self._max_bytes = max_bytes or {}
        self._servers = [server.strip() for server in url.split(",")]
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._listeners: list[Listener] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, namespace: str = "", *, replicas: int = 1, max_bytes: Mapping[str, int] | None = None
    ) -> AsyncIterator[Bus]:
        """Open a bus that connects in the background: a service starts without waiting for NATS."""
        bus = cls(url, namespace, replicas=replicas, max_bytes=max_bytes)
        task = asyncio.create_task(bus._run(), name="bus")
        try:
            yield bus
        finally:
            await end(task)

    def ready(self) -> bool:
        """Whether the broker is connected, with its streams in place."""
        return self._session is not None and not self._session.lost.is_set()

    def carries_events(self) -> bool:
        """Whether the connected broker accepts the largest event and its dead letter."""
        return self._session is not None and self._session.max_payload >= MIN_PAYLOAD_BYTES

    def advice(self) -> str | None:
        """A setting for the operator to change if the broker does not accept all events; None while not connected."""
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
        """Return the present session, or wait for the next one."""
        while True:
            await self._connected.wait()
            if self._session is not None:
                return self._session

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, msg_id: str = ""
    ) -> None:
        """Store a message on the stream of `subject` (without namespace); returns after the broker's PubAck.

        Of messages with the same `msg_id` within two minutes the broker keeps one.
        Raises: Unavailable, at once without a connection and within seconds without an answer; Invalid if the message
        is too large.
        """
        if self._session is None or self._session.lost.is_set():
            raise Unavailable("The message broker is not connected.")
        await self._session.publish(subject, body, headers or {}, msg_id)

    async def send(self, subject: str, body: bytes) -> None:
        """Send to the present listeners of `subject` (without namespace), at most once.

        Does nothing without a connection.
        """
        if self._session is not None:
            with suppress(OSError, nats.errors.Error):
                await self._session.send(subject, body)

    @asynccontextmanager
    async def listen(self, subject: str, receive: Receive, group: str = "") -> AsyncIterator[None]:
        """Call `receive(body)` for each message sent to `subject` while the block lasts, also after reconnections.

        Of the listeners of one `group`, one gets each message; without a group, each does. Errors are logged.
        """
        async with self._listening(Listener(subject, group, receive)):
            yield

    @asynccontextmanager
    async def answer(self, subject: str, respond: Respond, group: str = "") -> AsyncIterator[None]:
        """Answer `ask` with `await respond(body)` while the block lasts. An error is logged, and not answered."""
        async with self._listening(Listener(subject, group, respond)):
            yield

    async def ask(self, subject: str, body: bytes, wait_s: float) -> list[bytes]:
        """Ask all listeners. Returns the answers of `wait_s` seconds; an empty list, at once, if there is no listener.

        Raises: Unavailable without a connection.
        """
        if self._session is None:
            raise Unavailable("The message broker is not connected.")
        try:
            return await ask(self._session, subject, body, wait_s)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"The message broker is not answering ({error or type(error).__name__}).") from error

    async def backlogs(self) -> list[Backlog]:
        """The backlog of every service that has a consumer of events. Raises: Unavailable without a connection."""
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
        """Open a session, and after each loss the next one."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with Session.open(self._servers, self.namespace, self._replicas, self._max_bytes) as session:
                    pause_s = _FIRST_PAUSE_S
                    await self._hold(session)
            except (OSError, nats.errors.Error) as error:
                first = pause_s == _FIRST_PAUSE_S  # one warning for each outage
                log.log(
                    logging.WARNING if first else logging.DEBUG,
                    "NATS cannot be used: %s",
                    error or type(error).__name__,
                )
            except Exception:  # a fault of the client library must not end the bus
                log.exception("NATS session failed")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _hold(self, session: Session) -> None:
        """Be ready until the session is lost."""
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
