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
_COMMAND_TIMEOUT_S = 60.0  # a statement that takes longer is waiting for a server that has gone away
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0  # between attempts while Postgres is not up

log = logging.getLogger(__name__)


class WrongSchema(SlipwayError):
    """The role's search_path leads to another schema than the service's."""


async def open_pool(url: str, schema: str, *, size: int = 10, pooler: bool = False, prepared: bool = True) -> Pool:
    """A pool whose connections live in `schema`, with jsonb as Python values; waits until Postgres is up.

    `pooler`: `url` leads to a pooler in transaction mode, so nothing may rely on the session: the role has to have the
    schema as its search_path; `prepared` says whether the pooler keeps prepared statements.
    Use it as an async context manager, or close it. Raises: WrongSchema.
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
    """Raises: WrongSchema if the role's search_path leads elsewhere."""
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
    """The columns that `row` is made of, for SELECT and RETURNING: "id, name".

    Named, never `*`: the next release adds columns while this one still runs, and a row must not change under it.
    """
    return ", ".join(row.__struct_fields__)


def session(schema: str) -> dict[str, str]:
    """What a connection to Postgres itself is opened with."""
    return {"search_path": f'"{schema}"', "application_name": schema}


async def when_up(connect: Callable[[], Awaitable[T]]) -> T:
    """What `connect` gives, tried until Postgres takes it; a wrong password or database is raised at once."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await connect()
        except (*AWAY, *REPEATABLE) as error:
            log.warning("Postgres is not up yet, trying again: %s", error or type(error).__name__)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _connection_class(of_schema: str, *, unprepared: bool) -> type[asyncpg.Connection]:
    """asyncpg's connection, which knows where it lives, and whether each statement needs a transaction around it."""
    is_unprepared = unprepared

    class Connection(asyncpg.Connection):
        __slots__ = ()
        schema = of_schema
        unprepared = is_unprepared

    return Connection


async def _teach_jsonb(tx: asyncpg.Connection) -> None:
    """jsonb <-> what msgspec makes of it: Structs may be written, dicts and lists are read."""
    async with tx.transaction():  # a pooler may change servers between the two messages of one statement
        await tx.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda value: b"\x01" + msgspec.json.encode(value),  # jsonb_recv: a byte of version, then the JSON
            decoder=lambda raw: msgspec.json.decode(memoryview(raw)[1:]),
        )


async def _keep_session(_: asyncpg.Connection) -> None:
    """Instead of asyncpg's RESET ALL at each release: nothing here sets session state, and a round trip is saved."""
