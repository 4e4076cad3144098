"""LISTEN/NOTIFY as something to await: the commit of a transaction wakes the tasks that wait for its changes.

Tasks of the same process are woken right after the commit. Other processes are woken by a NOTIFY of the LISTEN
connection, one for all signals of the last milliseconds: a NOTIFY within the transaction would serialize all commits
of the database.

A signal is a hint to look at the tables, never the state itself. It may come twice, without a change, or (while
Postgres is away) late; so a task looks at the tables after every wake-up, and regularly without one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from libs import telemetry
from libs.db import Tx, after_commit, schema_of
from libs.tasks import end

_CONNECT_TIMEOUT_S = 10.0
_PROBE_S = 15.0  # between two checks of a silent connection
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

_COALESCE_S = 0.01  # between two NOTIFYs of one process
_MAX_KEYS = 100  # of a channel in one NOTIFY; more of them become one signal to all keys

_FAULTS = (OSError, PostgresError, InterfaceError)

log = logging.getLogger(__name__)


_open: dict[str, list[Signals]] = {}  # of this process, by schema


async def notify(tx: Tx, channel: str, key: str = "") -> None:
    """Signal `channel` of this schema when `tx` has committed: the subscribers of `key`; with "" all subscribers.

    Without `Signals` of the schema in this process, or on a connection that is not from `libs.db.transaction`, NOTIFY
    is sent in the transaction.
    """
    schema = schema_of(tx)
    if schema is None or not _open.get(schema):
        await tx.execute("SELECT pg_notify(current_schema() || '_' || $1, $2)", channel, key)
        return
    after_commit(tx, partial(_signal, schema, channel, key))


def _signal(schema: str, channel: str, key: str) -> None:
    """Wake the subscribers of this process, and let one connection notify the other processes."""
    listening = _open.get(schema, [])
    for signals in listening:
        signals.wake(channel, key)
    for signals in listening[:1]:
        signals.send(channel, key)


class Subscription:
    """Waits for signals. One that comes between two waits ends the next wait at once."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._signalled = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when signalled, False after `timeout_s` seconds without a signal."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._signalled.wait()
        except TimeoutError:
            return False
        self._signalled.clear()
        return True

    def signal(self) -> None:
        """End the present wait, or the next one."""
        self._signalled.set()


class Signals:
    """One LISTEN connection for a process. When it was lost and is back, it wakes all, who may have missed a signal."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._subscriptions: dict[str, set[Subscription]] = {}  # by channel as Postgres knows it
        self._listening: set[str] = set()
        self._outgoing: dict[str, set[str]] = {}  # keys by channel, to be sent to other processes
        self._pulse = asyncio.Event()  # a channel to listen to, a signal to send, or the connection lost

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, schema: str) -> AsyncIterator[Signals]:
        """Listen in the background, whether or not Postgres is up yet."""
        signals = cls(url, schema)
        task = asyncio.create_task(signals._run(), name="signals")
        _open.setdefault(schema, []).append(signals)
        try:
            yield signals
        finally:
            _open[schema].remove(signals)
            await end(task)

    @contextmanager
    def subscribe(self, channel: str, key: str = "") -> Iterator[Subscription]:
        """Subscribe to signals of `channel` for `key`; with "" for any key.

        The first wake-up may come without a signal, when LISTEN begins: signals before that were not received.
        """
        name = f"{self._schema}_{channel}"
        subscription = Subscription(key)
        self._subscriptions.setdefault(name, set()).add(subscription)
        if name not in self._listening:
            self._pulse.set()
        try:
            yield subscription
        finally:
            self._subscriptions[name].discard(subscription)

    def wake(self, channel: str, key: str) -> None:
        """Wake the subscribers of this process."""
        self._wake(f"{self._schema}_{channel}", key)

    def send(self, channel: str, key: str) -> None:
        """Notify the other processes soon; while Postgres is away, when it is back."""
        keys = self._outgoing.setdefault(f"{self._schema}_{channel}", set())
        if len(keys) < _MAX_KEYS:
            keys.add(key)
        else:
            keys.clear()
            keys.add("")
        self._pulse.set()

    async def _run(self) -> None:
        """Connect, listen until the connection is lost, and again."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self._connection() as connection:
                    pause_s = _FIRST_PAUSE_S
                    await self._listen(connection)
            except _FAULTS as error:
                log.warning("signals: connection lost, trying again: %s", error or type(error).__name__)
            except Exception:  # a fault of the client library must not end the signals
                log.exception("signals: connection failed, trying again")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        # A NOTIFY holds a lock of the whole database until its commit is on disk, which is not needed here.
        settings = {"application_name": f"{self._schema} signals", "synchronous_commit": "off"}
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_TIMEOUT_S, server_settings=settings)
        connection.add_termination_listener(lambda _: self._pulse.set())
        try:
            yield connection
        finally:
            self._listening.clear()
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """LISTEN to every subscribed channel, and send outgoing signals, until the connection is lost."""
        while True:
            self._pulse.clear()
            for name in self._subscriptions.keys() - self._listening:
                await connection.add_listener(name, self._hear)
                self._listening.add(name)
                self._wake(name, "")
            if self._outgoing:
                await self._send(connection)
            try:
                async with asyncio.timeout(_PROBE_S):
                    await self._pulse.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_CONNECT_TIMEOUT_S)
            if connection.is_closed():
                raise ConnectionResetError("closed by the server")

    async def _send(self, connection: asyncpg.Connection) -> None:
        """Send all outgoing signals with one statement; those of the next milliseconds wait for the next one."""
        outgoing, self._outgoing = self._outgoing, {}
        pairs = [(name, key) for name, keys in outgoing.items() for key in ({""} if "" in keys else keys)]
        try:
            await connection.execute(
                "SELECT pg_notify(name, key) FROM unnest($1::text[], $2::text[]) AS signal (name, key)",
                [name for name, _ in pairs],
                [key for _, key in pairs],
                timeout=_CONNECT_TIMEOUT_S,
            )
        except BaseException:
            for name, keys in outgoing.items():  # to be sent by the next connection, whatever ended this one
                self._outgoing.setdefault(name, set()).update(keys)
            raise
        telemetry.notifications.inc()
        await asyncio.sleep(_COALESCE_S)

    def _hear(self, connection: asyncpg.Connection, pid: int, name: str, key: object) -> None:
        if pid != connection.get_server_pid():  # subscribers of this process were woken after the commit
            self._wake(name, str(key))

    def _wake(self, name: str, key: str) -> None:
        for subscription in self._subscriptions.get(name, ()):
            if not key or not subscription.key or subscription.key == key:
                subscription.signal()
