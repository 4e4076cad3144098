"""Postgres: a pool that lives in one schema, transactions with the house's errors, forward-only migrations.

SQL is unqualified: `search_path` names the schema, so that services (and tests) share a database without meeting.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import asyncpg
import msgspec
from asyncpg.exceptions import InterfaceError, InternalClientError
from asyncpg.pool import PoolConnectionProxy

from libs.errors import SlipwayError, Unavailable

Pool: TypeAlias = asyncpg.Pool
Tx: TypeAlias = asyncpg.Connection | PoolConnectionProxy

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
_ACQUIRE_TIMEOUT_S = 10.0  # who waits longer than this for a free connection is better told to come back
_COMMAND_TIMEOUT_S = 60.0  # a statement that takes longer is waiting for a server that has gone away
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0  # between attempts while Postgres is not up

# What asyncpg raises when the server, not the statement, is the trouble. A deadlock's victim is among them, since
# repeating its transaction is all that it takes.
_UNREACHABLE = (
    OSError,  # refused, reset, no such socket; TimeoutError is one too
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.TransactionRollbackError,  # deadlock, serialization
)

log = logging.getLogger(__name__)


class MigrationChanged(SlipwayError):
    """A migration that was already applied has changed. Migrations are forward-only: add a new file instead."""


async def open_pool(url: str, schema: str, *, size: int = 10) -> Pool:
    """A pool whose connections live in `schema`, with jsonb as Python values; waits until Postgres is up.

    Use it as an async context manager, or close it.
    """

    async def connect() -> Pool:
        pool: Pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            init=_teach_jsonb,
            reset=_keep_session,
            server_settings=_session(schema),
        )
        return pool

    return await _when_up(connect)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Tx]:
    """BEGIN … COMMIT; whatever is raised inside rolls back.

    Raises: Unavailable if Postgres cannot be reached, restarts meanwhile, or has no connection to spare. A connection
    lost during COMMIT leaves open whether it happened: callers are idempotent.
    """
    async with connection(pool) as tx, tx.transaction():
        yield tx


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Tx]:
    """A connection without BEGIN, for reads and single statements. Raises: Unavailable, as `transaction` does."""
    try:
        tx = await pool.acquire(timeout=_ACQUIRE_TIMEOUT_S)
    except (*_UNREACHABLE, InterfaceError, InternalClientError) as error:  # InterfaceError: the pool is closing
        raise _unavailable(error) from error
    try:
        yield tx
    except _UNREACHABLE as error:
        raise _unavailable(error) from error
    except InterfaceError as error:
        if not _is_lost(tx):
            raise  # a wrong use of asyncpg, such as too few arguments
        raise _unavailable(error) from error
    except InternalClientError as error:
        # A server that dies says so between two statements; asyncpg then finds itself in a state that it does not know.
        tx.terminate()
        raise _unavailable(error) from error
    finally:
        await pool.release(tx)


def columns(row: type[msgspec.Struct]) -> str:
    """The columns that `row` is made of, for SELECT and RETURNING: "id, name".

    Named, never `*`: the next release adds columns while this one still runs, and a row must not change under it.
    """
    return ", ".join(row.__struct_fields__)


async def migrate(url: str, schema: str, *folders: Path) -> list[str]:
    """Apply every `*.sql` of each folder that `schema` has not seen, in order of name, each in a transaction.

    A file is known by its folder's owner and its own name, e.g. "outbox/0001_outbox.sql". Waits until Postgres is up,
    and for whoever else migrates the schema. Returns the names applied now.
    Raises: MigrationChanged if a file differs from what was applied under its name.
    """

    async def connect() -> asyncpg.Connection:
        connected: asyncpg.Connection = await asyncpg.connect(
            url, timeout=_CONNECT_TIMEOUT_S, server_settings=_session(schema)
        )
        return connected

    tx = await _when_up(connect)
    try:
        await tx.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", schema)  # goes with the connection
        await tx.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await tx.execute(
            """
            CREATE TABLE IF NOT EXISTS migration (
                name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        known = {row["name"]: row["sha256"] for row in await tx.fetch("SELECT name, sha256 FROM migration")}
        return [name for name, sql in _migrations(folders) if await _apply(tx, name, sql, known.get(name))]
    finally:
        await tx.close()


async def _apply(tx: Tx, name: str, sql: str, known_sha256: str | None) -> bool:
    """Run the migration unless it was run before."""
    sha256 = hashlib.sha256(sql.encode()).hexdigest()
    if known_sha256 == sha256:
        return False
    if known_sha256 is not None:
        raise MigrationChanged(f"{name} was applied with other content. Add a new migration instead of editing it.")
    async with tx.transaction():
        await tx.execute(sql)
        await tx.execute("INSERT INTO migration (name, sha256) VALUES ($1, $2)", name, sha256)
    log.info("migration applied", extra={"migration": name})
    return True


def _migrations(folders: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Name and SQL of every migration; the owner's name keeps the 0001 of two folders apart."""
    for folder in folders:
        for file in sorted(folder.glob("*.sql")):
            yield f"{folder.parent.name}/{file.name}", file.read_text()


async def _when_up(connect: Callable[[], Awaitable[T]]) -> T:
    """What `connect` gives, tried until Postgres answers; a wrong password or database is raised at once."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await connect()
        except _UNREACHABLE as error:
            log.warning("Postgres is not up yet, trying again: %s", error or type(error).__name__)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _session(schema: str) -> dict[str, str]:
    return {"search_path": f'"{schema}"', "application_name": schema}


async def _teach_jsonb(tx: Tx) -> None:
    """jsonb <-> what msgspec makes of it: Structs may be written, dicts and lists are read."""
    await tx.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),  # jsonb_recv: one byte of version, then JSON text
        decoder=lambda raw: msgspec.json.decode(memoryview(raw)[1:]),
    )


async def _keep_session(_: Tx) -> None:
    """Instead of asyncpg's RESET ALL at each release: nothing here sets session state, and a round trip is saved."""


def _is_lost(tx: Tx) -> bool:
    try:
        return bool(tx.is_closed())
    except InterfaceError:  # the pool took a broken connection away from under its user
        return True


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(f"The database is not answering ({error or type(error).__name__}); try again shortly.")
