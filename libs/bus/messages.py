"""Messages that nobody stores: what is only worth knowing now (progress, load, a question), at most once each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from libs.bus.session import Session

Receive = Callable[[bytes], Awaitable[None]]
Respond = Callable[[bytes], Awaitable[bytes]]

_NO_RESPONDERS = "503"

log = logging.getLogger(__name__)


class Listener:
    """Hears one subject in whatever session there is; what its callback raises is logged."""

    def __init__(self, subject: str, group: str, respond: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """`group`: of all listeners with this name one gets each message; "": each gets it."""
        self.session: Session | None = None
        self._subject = subject
        self._group = group
        self._respond = respond
        self._subscription: Subscription | None = None

    async def join(self, session: Session) -> None:
        """Hear in this session. Raises: OSError, nats.errors.Error if it is lost already."""
        self.session = session
        self._subscription = await session.hear(self._subject, self._group, self._on_message)

    async def leave(self) -> None:
        """Hear no more."""
        if self._subscription is not None:
            with suppress(nats.errors.Error):  # a lost connection has no subscriptions left
                await self._subscription.unsubscribe()

    async def _on_message(self, msg: Msg) -> None:
        try:
            answer = await self._respond(msg.data)
            if answer is not None and msg.reply:
                await msg.respond(answer)
        except Exception:  # one message is not to end the hearing of others
            log.exception("%s: message not handled", self._subject)


async def ask(session: Session, subject: str, body: bytes, wait_s: float) -> list[bytes]:
    """Every answer that comes within `wait_s`; none, at once, where nobody listens."""
    answers: list[bytes] = []
    nobody = asyncio.Event()

    async def collect(msg: Msg) -> None:
        if (msg.headers or {}).get("Status") == _NO_RESPONDERS:
            nobody.set()
        else:
            answers.append(msg.data)

    inbox, subscription = await session.subscribe(collect)
    try:
        await session.send(subject, body, reply=inbox)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await nobody.wait()
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
    return answers
