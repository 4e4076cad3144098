"""One connection to NATS, from CONNECT until it is lost.

The client library's own reconnection buffers messages and sends them minutes later, and gives up for good after some
server errors. A session ends instead: calls that are in progress fail at once, and the bus opens the next session.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import ConsumerConfig, PubAck
from nats.js.errors import NoStreamResponseError

from libs.bus.streams import ensure_consumer, ensure_streams, prefixed, send_again, stream_name, unprefixed
from libs.errors import Invalid, Unavailable
from libs.tasks import end, unless_set

_CONNECT_TIMEOUT_S = 2
_ANSWER_TIMEOUT_S = 5.0
_PROBE_EVERY_S = 2.0
_CLOSE_TIMEOUT_S = 1.0
_HEADROOM_BYTES = 4096  # max_payload counts headers too

log = logging.getLogger(__name__)


class Session:
    """Publishes and subscribes until `lost` is set; then every call raises."""

    def __init__(
        self, client: Client, namespace: str, lost: asyncio.Event, replicas: int, max_bytes: Mapping[str, int]
    ) -> None:
        self.lost = lost
        self.namespace = namespace
        self._replicas = replicas
        self._max_bytes = max_bytes
        self.js = client.jetstream(timeout=_ANSWER_TIMEOUT_S)
        self._client = client
        self._acks: set[asyncio.Future[PubAck]] = set()  # of publications that are in progress
        self._ensuring: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, servers: list[str], namespace: str, replicas: int = 1, max_bytes: Mapping[str, int] | None = None
    ) -> AsyncIterator[Session]:
        """Connect, and create the streams. Raises: OSError, nats.errors.Error if that is not possible now."""
        lost = asyncio.Event()
        client = await _connect(servers, lost)
        session = cls(client, namespace, lost, replicas, max_bytes or {})
        probing = asyncio.create_task(session._probe(), name="nats probe")
        try:
            await session.ensure_streams()
            yield session
        finally:
            await session._close()
            await end(probing)

    @property
    def max_payload(self) -> int:
        """The largest message that the server accepts, in bytes."""
        return int(self._client.max_payload)

    async def publish(self, subject: str, body: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        """Store a message; returns after the broker's PubAck. Creates a stream again that was deleted.

        Raises: Unavailable, at once if the connection is lost meanwhile; Invalid if the message is too large.
        """
        if len(body) + _HEADROOM_BYTES > self._client.max_payload:
            raise Invalid(f"{len(body)} bytes are more than the broker takes ({self._client.max_payload}).")
        try:
            try:
                await self._publish(subject, body, headers, msg_id)
            except NoStreamResponseError:
                await self.ensure_streams()
                await self._publish(subject, body, headers, msg_id)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"The message broker is not answering ({error or type(error).__name__}).") from error

    async def _publish(self, subject: str, body: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        ack = await self.js.publish_async(
            prefixed(self.namespace, subject), body, headers={**headers, "Nats-Msg-Id": msg_id}
        )
        self._acks.add(ack)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await ack
        finally:
            self._acks.discard(ack)

    async def ensure_streams(self) -> None:
        """Create or extend the streams; concurrent callers share one attempt. Raises: nats.errors.Error."""
        if self._ensuring is None or self._ensuring.done():
            self._ensuring = asyncio.create_task(
                unless_set(self.lost, ensure_streams(self.js, self.namespace, self._replicas, self._max_bytes))
            )
        await asyncio.shield(self._ensuring)
        if self.lost.is_set():
            raise nats.errors.ConnectionClosedError

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> list[str]:
        """Create or extend a durable consumer. Returns the subjects that its filter has gained.

        Raises: nats.errors.Error.
        """
        return await ensure_consumer(self.js, stream_name(self.namespace, stream), config)

    async def send_again(self, stream: str, subject: str) -> int:
        """Store again what the stream holds of `subject` (with namespace). Raises: nats.errors.Error."""
        return await send_again(self.js, stream_name(self.namespace, stream), subject)

    async def subscribe(self, receive: Callable[[Msg], Awaitable[None]]) -> tuple[str, Subscription]:
        """Subscribe to a new inbox. Returns its subject and the subscription."""
        inbox = self._client.new_inbox()
        return inbox, await self._client.subscribe(inbox, cb=receive)

    async def listen(self, subject: str, group: str, receive: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe to `subject`; of the listeners of one `group`, one gets each message."""
        return await self._client.subscribe(prefixed(self.namespace, subject), queue=group, cb=receive)

    async def send(self, subject: str, body: bytes, reply: str = "") -> None:
        """Send to the present listeners of `subject`. Raises: nats.errors.Error if the connection is lost."""
        await self._client.publish(prefixed(self.namespace, subject), body, reply=reply)

    async def request(self, stream: str, consumer: str, inbox: str, request: Mapping[str, int]) -> None:
        """Request messages of a pull consumer, to be sent to `inbox`."""
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream_name(self.namespace, stream)}.{consumer}"
        await self._client.publish(subject, json.dumps(request).encode(), reply=inbox)

    def tag_of(self, msg: Msg) -> str:
        """The message's subject without the installation's prefix."""
        return unprefixed(self.namespace, msg.subject)

    async def _probe(self) -> None:
        """End the session when the server or JetStream stops answering, which TCP would report only after minutes."""
        while not self.lost.is_set():
            await unless_set(self.lost, asyncio.sleep(_PROBE_EVERY_S))
            try:
                await unless_set(self.lost, self.js.account_info())
            except (OSError, nats.errors.Error) as error:
                log.warning("NATS does not answer: %s", error or type(error).__name__)
                self.lost.set()

    async def _close(self) -> None:
        """Fail publications that wait for an answer, then close."""
        self.lost.set()
        for ack in self._acks:
            if not ack.done():
                ack.set_exception(nats.errors.ConnectionClosedError())
        await _close_client(self._client)


async def _connect(servers: list[str], lost: asyncio.Event) -> Client:
    """A connected client that never reconnects by itself: it sets `lost` instead."""

    async def on_closed() -> None:
        lost.set()

    async def on_error(error: Exception) -> None:
        log.debug("nats: %s", error or type(error).__name__)

    client = Client()
    try:
        await client.connect(
            servers,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # also without reconnection, this bounds the first attempt
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_TIMEOUT_S,
            # No buffer: publishing without a connection raises, and with one never waits for a flush. (Where the
            # library waits for one, it swallows its caller's cancellation.) Who publishes bounds what is in flight.
            pending_size=0,
            error_cb=on_error,
            disconnected_cb=on_closed,
            closed_cb=on_closed,
            name="slipway",
        )
    except BaseException:
        await _close_client(client)  # it may have opened a socket
        raise
    return client


async def _close_client(client: Client) -> None:
    """Close, without waiting long for a server that hangs."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.close()
