"""Requests messages of a pull consumer, as many as there is room for, without a round trip for each.

The client library's `fetch` may hold back the first message of a batch until the batch is full or its time is up; this
speaks the pull protocol itself (https://github.com/nats-io/nats-architecture-and-design, ADR-13 and ADR-37). A request
asks for `batch` messages; while it is open the server sends heart-beats, and at its end the number of messages that
were not delivered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.msg import Msg

from libs.bus.session import Session

_EXPIRES_S = 30
_HEARTBEAT_S = 5
_SILENCE_S = 2.5 * _HEARTBEAT_S
_NANOSECONDS = 1_000_000_000

_IDLE_HEARTBEAT = "100"
_ENDED = ("404", "408")  # no messages, request expired
_PENDING = "Nats-Pending-Messages"  # of an ended request: how many it did not deliver

log = logging.getLogger(__name__)


class PullLostError(Exception):
    """The consumer is gone, or the server has stopped sending; bind to it again."""


class Pull:
    """Requests messages of one durable consumer, never more than there is room for, and calls `receive` with each."""

    def __init__(
        self, session: Session, stream: str, consumer: str, receive: Callable[[Msg], None], room: Callable[[], int]
    ) -> None:
        """`room`: how many more messages the receiver can process, not counting those already requested."""
        self._session = session
        self._stream = stream
        self._consumer = consumer
        self._receive = receive
        self._room = room
        self._inbox = ""
        self._requested = 0
        self._pulse = asyncio.Event()
        self._ended: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, session: Session, stream: str, consumer: str, receive: Callable[[Msg], None], room: Callable[[], int]
    ) -> AsyncIterator[Pull]:
        """Receive until the block ends."""
        pull = cls(session, stream, consumer, receive, room)
        pull._inbox, subscription = await session.subscribe(pull._on_message)
        try:
            yield pull
        finally:
            pull._end("closed")
            with suppress(nats.errors.Error):  # a lost connection has no subscriptions left
                await subscription.unsubscribe()

    def wake(self) -> None:
        """Check whether there is more room."""
        self._pulse.set()

    async def watch(self) -> None:
        """Request messages whenever there is room. Raises: PullLostError when no more can be expected."""
        while self._ended is None:
            self._pulse.clear()
            await self._request()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._pulse.wait()
            except TimeoutError:
                if self._requested:
                    self._end("no heart-beat")
        raise PullLostError(self._ended)

    async def _request(self) -> None:
        """Request as many messages as there is room for, unless most of that is requested already."""
        room = self._room() - self._requested
        if room < 1 or room < self._requested // 2:
            return
        self._requested += room
        request = {
            "batch": room,
            "expires": _EXPIRES_S * _NANOSECONDS,
            "idle_heartbeat": _HEARTBEAT_S * _NANOSECONDS,
        }
        await self._session.request(self._stream, self._consumer, self._inbox, request)

    async def _on_message(self, msg: Msg) -> None:
        self._pulse.set()
        status = (msg.headers or {}).get("Status")
        if status is None:
            self._requested = max(self._requested - 1, 0)
            self._receive(msg)
        elif status in _ENDED:
            undelivered = int((msg.headers or {}).get(_PENDING, self._requested))
            self._requested = max(self._requested - undelivered, 0)
        elif status != _IDLE_HEARTBEAT:
            self._end(f"{status} {(msg.headers or {}).get('Description', '')}".strip())

    def _end(self, reason: str) -> None:
        self._ended = self._ended or reason
        self._pulse.set()
