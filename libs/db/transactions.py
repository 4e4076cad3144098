"""Transactions that raise this project's errors, and callbacks after their commit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
from asyncpg.exceptions import InterfaceError
from asyncpg.pool import PoolConnectionProxy

from libs.db.faults import FAULTS, SPOILED, unavailable
from libs.db.pool import Pool

Tx: TypeAlias = asyncpg.Connection | PoolConnectionProxy

_ACQUIRE_TIMEOUT_S = 10.0  # for a free connection; then the caller has to try again later

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Open:
    """A transaction under way."""

    pool: Pool
    callbacks: list[Callable[[], object]] = field(default_factory=list)


_transactions: dict[int, _Open] = {}  # by the connection's id


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Tx]:
    """BEGIN … COMMIT; any error inside rolls back.

    Raises: Unavailable if Postgres cannot be reached, restarts, accepts no writes (after a failover), has no free
    connection, or cancels a statement after its timeout. If the connection is lost during COMMIT, it is unknown whether
    the transaction is committed: callers are idempotent.
    """
    opened = _Open(pool)
    async with _acquired(pool) as tx:
        _transactions[id(tx)] = opened
        try:
            async with tx.transaction():
                yield tx
        finally:
            del _transactions[id(tx)]
    for callback in opened.callbacks:
        try:
            callback()
        except Exception:  # the transaction is committed nevertheless
            log.exception("a callback after a commit failed")


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Tx]:
    """A connection without BEGIN, for reads and single statements. Raises: Unavailable, as `transaction` does.

    Behind a pooler that keeps no prepared statements it is a transaction: the pooler may change connections between
    statements, and between the two messages of one.
    """
    async with _acquired(pool) as tx:
        if getattr(tx, "unprepared", False):
            async with tx.transaction():
                yield tx
        else:
            yield tx


def after_commit(tx: Tx, callback: Callable[[], object]) -> None:
    """Call `callback()` after `tx` has committed, in the order of registration; never if it rolls back.

    The callback must not block; its errors are logged. It is not called if the process dies right after the COMMIT.
    Raises: RuntimeError if `tx` is not a connection from `transaction`.
    """
    opened = _transactions.get(id(tx))
    if opened is None:
        raise RuntimeError("after_commit needs a transaction from libs.db.transaction")
    opened.callbacks.append(callback)


def pool_of(tx: Tx) -> Pool | None:
    """The pool whose `transaction` this is; None for any other connection."""
    opened = _transactions.get(id(tx))
    return opened.pool if opened else None


def schema_of(tx: Tx) -> str | None:
    """The schema of the `transaction`'s pool; None for any other connection."""
    return getattr(tx, "schema", None) if id(tx) in _transactions else None


@asynccontextmanager
async def _acquired(pool: Pool) -> AsyncIterator[Tx]:
    """A connection of the pool. Maps faults to Unavailable, and closes a connection that must not be used again."""
    try:
        tx = await pool.acquire(timeout=None if pool.get_idle_size() else _ACQUIRE_TIMEOUT_S)  # none: no timer either
    except FAULTS as error:  # InterfaceError: the pool is closing
        raise unavailable(error) from error
    try:
        yield tx
    except FAULTS as error:
        if isinstance(error, InterfaceError) and not _is_lost(tx):
            raise  # a mistake in the call, such as too few arguments
        if isinstance(error, SPOILED):
            tx.terminate()
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            await pool.expire_connections()  # the others lead to the same server, which is not the primary now
        raise unavailable(error) from error
    finally:
        await pool.release(tx)


def _is_lost(tx: Tx) -> bool:
    try:
        return bool(tx.is_closed())
    except InterfaceError:  # the pool has closed a broken connection
        return True
