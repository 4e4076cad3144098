"""The bus: a session with NATS whenever there can be one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import nats.errors

from libs.bus.session import Session
from libs.errors import Unavailable
from libs.tasks import end

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

log = logging.getLogger(__name__)


class Bus:
    """Connects in the background, for ever. While it cannot, publishing raises Unavailable at once."""

    def __init__(self, url: str, namespace: str = "") -> None:
        """`url`: nats://host:port[,nats://host:port…]."""
        self.namespace = namespace
        self._servers = [server.strip() for server in url.split(",")]
        self._session: Session | None = None
        self._connected = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, namespace: str = "") -> AsyncIterator[Bus]:
        """A bus that is connected, or is trying to be: a start never waits for NATS."""
        bus = cls(url, namespace)
        task = asyncio.create_task(bus._run(), name="bus")
        try:
            yield bus
        finally:
            await end(task)

    def ready(self) -> bool:
        """Whether the broker is connected, with its streams in place."""
        return self._session is not None and not self._session.lost.is_set()

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

    async def _run(self) -> None:
        """Hold a session, and when it is lost, the next."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with Session.open(self._servers, self.namespace) as session:
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
        log.info("NATS connected")
        self._session = session
        self._connected.set()
        try:
            await session.lost.wait()
            log.warning("NATS connection lost")
        finally:
            self._connected.clear()
            self._session = None
