"""One message of a stream while it is being processed, and the answers that it can be given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import datetime

import nats.errors
from nats.aio.msg import Msg

from libs.outbox import REQUEST_ID_HEADER, TRACEPARENT_HEADER

log = logging.getLogger(__name__)


class Delivery:
    """A message that is being processed.

    When the broker delivers the same message again meanwhile, the answer goes to the newest delivery: the older one may
    belong to a connection that is lost.
    """

    def __init__(self, msg: Msg, tag: str) -> None:
        """`tag`: the message's subject without the installation's prefix."""
        self.tag = tag
        self.body = msg.data
        self.headers: dict[str, str] = msg.headers or {}
        self.delivered = msg.metadata.num_delivered
        self.key = key_of(msg)
        self.stored_at = msg.metadata.timestamp  # UTC, when the broker received it
        self.begun_at = asyncio.get_running_loop().time()
        self.latest = msg

    @property
    def context_headers(self) -> dict[str, str]:
        """The request id and trace that the message carries."""
        return {name: self.headers[name] for name in (REQUEST_ID_HEADER, TRACEPARENT_HEADER) if name in self.headers}

    async def ack(self) -> None:
        """Answer that the message is processed. If the answer is lost, the next delivery finds its inbox row."""
        await self._answer(self.latest.ack())

    async def nak(self, delay_s: float = 0.0) -> None:
        """Put the message back, to be delivered again after `delay_s` seconds."""
        await self._answer(self.latest.nak(delay_s))

    async def term(self) -> None:
        """Answer that the message must not be delivered again."""
        await self._answer(self.latest.term())

    async def in_progress(self) -> None:
        """Restart `ack_wait` because processing goes on."""
        await self._answer(self.latest.in_progress())

    async def _answer(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except nats.errors.Error as error:
            log.debug("answer to %s lost, it will be delivered again: %s", self.tag, error)


def key_of(msg: Msg) -> tuple[int, datetime]:
    """What identifies a message across deliveries; the time distinguishes streams that were deleted and made again."""
    return msg.metadata.sequence.stream, msg.metadata.timestamp
