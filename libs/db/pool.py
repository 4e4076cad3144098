"""Connecting: a pool whose connections live in one schema, directly or behind a pooler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg
import msgspec

from libs.db.faults import AWAY, REPEATABLE
from libs.errors import SlipwayError

Pool: TypeAlias = asyncpg.Pool

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 60.0  # a statement that takes longer waits for a server that is gone
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0  # between attempts while Postgres is not up

log = logging.getLogger(__name__)


class WrongSchema(SlipwayError):
    """The role's search_path is another schema than the service's."""


async def open_pool(url: str, schema: str, *, size: int = 10, pooler: bool = False, prepared: bool = True) -> Pool:
    """Open a pool whose connections use `schema`, with jsonb as Python values. Waits until Postgres is up.

    `pooler`: `url` is that of a pooler in transaction mode. Nothing may rely on the session then: the role must have
    the schema as its search_path. `prepared`: whether the pooler keeps prepared statements.
    Use the pool as an async context manager, or close it. Raises: WrongSchema.
    """
    has_session = not pooler

    async def connect() -> Pool:
        pool: Pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            connection_class=_connection_class(schema, unprepared=pooler and not prepared),
            init=_teach_jsonb,
            reset=_keep_session,
            server_settings=session(schema) if has_session else {"application_name": schema},
            **({} if has_session or prepared else {"statement_cache_size": 0}),
        )
        if pooler:
            await _check_schema(pool, schema)
        return pool

    return await when_up(connect)


async def _check_schema(pool: Pool, schema: str) -> None:
    """Raises: WrongSchema if the role's search_path is another schema."""
    try:
        async with pool.acquire() as tx, tx.transaction():
            role, found = await tx.fetchrow("SELECT current_user, current_schema()")
        if found != schema:
            raise WrongSchema(
                f"Behind a pooler the role's own search_path decides, and that of '{role}' leads to '{found}': "
                f'ALTER ROLE "{role}" SET search_path = "{schema}"; then reconnect the pooler.'
            )
    except BaseException:
        pool.terminate()
        raise


def columns(row: type[msgspec.Struct]) -> str:
    """The columns of `row`, for SELECT and RETURNING: "id, name".

    Named, never `*`: the next release adds columns while this one still runs.
    """
    return ", ".join(row.__struct_fields__)


def session(schema: str) -> dict[str, str]:
    """The settings of a direct connection to Postgres."""
    return {"search_path": f'"{schema}"', "application_name": schema}


async def when_up(connect: Callable[[], Awaitable[T]]) -> T:
    """The result of `connect`, repeated until Postgres is up. A wrong password or database is raised at once."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await connect()
        except (*AWAY, *REPEATABLE) as error:
            log.warning("Postgres is not up yet, trying again: %s", error or type(error).__name__)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _connection_class(of_schema: str, *, unprepared: bool) -> type[asyncpg.Connection]:
    """asyncpg's connection, with its schema, and with whether each statement needs a transaction."""
    is_unprepared = unprepared

    class Connection(asyncpg.Connection):
        __slots__ = ()
        schema = of_schema
        unprepared = is_unprepared

    return Connection


async def _teach_jsonb(tx: asyncpg.Connection) -> None:
    """Encode and decode jsonb by msgspec: Structs may be written, dicts and lists are read."""
    async with tx.transaction():  # a pooler may change connections between two messages of one statement
        await tx.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda value: b"\x01" + msgspec.json.encode(value),  # jsonb_recv: a byte of version, then the JSON
            decoder=lambda raw: msgspec.json.decode(memoryview(raw)[1:]),
        )


async def _keep_session(_: asyncpg.Connection) -> None:
    """Replaces asyncpg's RESET ALL at each release: nothing sets session state, and a round trip is saved."""
