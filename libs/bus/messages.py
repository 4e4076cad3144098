"""Messages that are not stored (progress, load, questions): each is delivered at most once."""

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
    """Listens to one subject, in one session after the other. Errors of its callback are logged."""

    def __init__(self, subject: str, group: str, respond: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """`group`: of all listeners of a group, one gets each message; "": every listener does."""
        self.session: Session | None = None
        self._subject = subject
        self._group = group
        self._respond = respond
        self._subscription: Subscription | None = None

    async def join(self, session: Session) -> None:
        """Subscribe in this session. Raises: OSError, nats.errors.Error if it is lost."""
        self.session = session
        self._subscription = await session.listen(self._subject, self._group, self._on_message)

    async def leave(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            with suppress(nats.errors.Error):  # a lost connection has no subscriptions left
                await self._subscription.unsubscribe()

    async def _on_message(self, msg: Msg) -> None:
        try:
            answer = await self._respond(msg.data)
            if answer is not None and msg.reply:
                await msg.respond(answer)
        except Exception:  # one message must not end the subscription
            log.exception("%s: message not handled", self._subject)


async def ask(session: Session, subject: str, body: bytes, wait_s: float) -> list[bytes]:
    """Every answer within `wait_s` seconds; an empty list, at once, if there is no listener."""
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
