"""LISTEN/NOTIFY as something to await: a transaction's commit wakes whoever waits for what it wrote.

A signal is a hint to look, never the news itself: it may come twice, for nothing, or (while Postgres is away) too late,
so whoever waits looks at the tables again after every wake-up, and now and then without one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from libs.db import Tx
from libs.tasks import end

_CONNECT_TIMEOUT_S = 10.0
_PROBE_S = 15.0  # how often a silent connection is asked whether it still lives
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

_TROUBLE = (OSError, PostgresError, InterfaceError)

log = logging.getLogger(__name__)


async def notify(tx: Tx, channel: str, key: str = "") -> None:
    """Signal `channel` of this schema when `tx` commits; `key` reaches those who asked for it, "" reaches all."""
    await tx.execute("SELECT pg_notify(current_schema() || '_' || $1, $2)", channel, key)


class Subscription:
    """Remembers whether it was signalled since the last wait, so that a signal between two waits is not lost."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._signalled = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """True as soon as signalled, False after `timeout_s` seconds without."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._signalled.wait()
        except TimeoutError:
            return False
        self._signalled.clear()
        return True

    def signal(self) -> None:
        """Wake the waiter, or the next wait."""
        self._signalled.set()


class Signals:
    """One LISTEN connection a process; it comes back by itself, and then wakes everyone, who may have missed one."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._subscriptions: dict[str, set[Subscription]] = {}  # by channel as Postgres knows it
        self._listening: set[str] = set()
        self._news = asyncio.Event()  # there is a channel to listen to, or the connection was lost

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, schema: str) -> AsyncIterator[Signals]:
        """Listen in the background, whether or not Postgres is up yet."""
        signals = cls(url, schema)
        task = asyncio.create_task(signals._run(), name="signals")
        try:
            yield signals
        finally:
            await end(task)

    @contextmanager
    def subscribe(self, channel: str, key: str = "") -> Iterator[Subscription]:
        """Hear what is signalled on `channel` under `key`; with "" under any.

        The first wake-up may come without a signal, once LISTEN stands: what happened before it was not heard.
        """
        name = f"{self._schema}_{channel}"
        subscription = Subscription(key)
        self._subscriptions.setdefault(name, set()).add(subscription)
        if name not in self._listening:
            self._news.set()
        try:
            yield subscription
        finally:
            self._subscriptions[name].discard(subscription)

    async def _run(self) -> None:
        """Connect, listen until the connection is lost, and again."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self._connection() as connection:
                    pause_s = _FIRST_PAUSE_S
                    await self._listen(connection)
            except _TROUBLE as error:
                log.warning("signals: connection lost, trying again: %s", error or type(error).__name__)
            except Exception:  # the client library's own faults are not to end the signals
                log.exception("signals: connection failed, trying again")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        settings = {"application_name": f"{self._schema} signals"}
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_TIMEOUT_S, server_settings=settings)
        connection.add_termination_listener(lambda _: self._news.set())
        try:
            yield connection
        finally:
            self._listening.clear()
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """LISTEN to every channel that somebody subscribed to, now and later; ends when the connection does."""
        while True:
            self._news.clear()
            for name in self._subscriptions.keys() - self._listening:
                await connection.add_listener(name, self._hear)
                self._listening.add(name)
                self._wake(name, "")
            try:
                async with asyncio.timeout(_PROBE_S):
                    await self._news.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_CONNECT_TIMEOUT_S)
            if connection.is_closed():
                raise ConnectionResetError("closed by the server")

    def _hear(self, _connection: object, _pid: int, name: str, key: object) -> None:
        self._wake(name, str(key))

    def _wake(self, name: str, key: str) -> None:
        for subscription in self._subscriptions.get(name, ()):
            if not key or not subscription.key or subscription.key == key:
                subscription.signal()
