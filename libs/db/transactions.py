"""Transactions with the house's errors, and what is to happen after they have committed."""

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

_ACQUIRE_TIMEOUT_S = 10.0  # who waits longer than this for a free connection had better come back later

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Open:
    """A transaction under way."""

    pool: Pool
    callbacks: list[Callable[[], object]] = field(default_factory=list)


_transactions: dict[int, _Open] = {}  # by the connection's id, for as long as the transaction lasts


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Tx]:
    """BEGIN … COMMIT; whatever is raised inside rolls back.

    Raises: Unavailable if Postgres cannot be reached, restarts meanwhile, takes no writes (after a failover), has no
    connection to spare, or ended a statement for its time. A connection lost during COMMIT leaves open whether it
    happened: callers are idempotent.
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
        except Exception:  # the transaction is committed, whatever comes of telling
            log.exception("a callback after a commit failed")


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Tx]:
    """A connection without BEGIN, for reads and single statements. Raises: Unavailable, as `transaction` does.

    Behind a pooler that keeps no prepared statements it is a transaction: between its statements, or the two messages
    of one, the pooler may change servers.
    """
    async with _acquired(pool) as tx:
        if getattr(tx, "unprepared", False):
            async with tx.transaction():
                yield tx
        else:
            yield tx


def after_commit(tx: Tx, callback: Callable[[], object]) -> None:
    """Call `callback()` once `tx` has committed, in the order of registration; never if it rolls back.

    It is a plain function that does not block; what it raises is logged. Whether a process that dies right after the
    COMMIT gets that far is open. Raises: RuntimeError if `tx` is not a connection from `transaction`.
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
    """A connection of the pool, whose faults are Unavailable, and which does not come back to the pool if spoiled."""
    try:
        tx = await pool.acquire(timeout=None if pool.get_idle_size() else _ACQUIRE_TIMEOUT_S)  # none: no timer either
    except FAULTS as error:  # InterfaceError: the pool is closing
        raise unavailable(error) from error
    try:
        yield tx
    except FAULTS as error:
        if isinstance(error, InterfaceError) and not _is_lost(tx):
            raise  # a wrong use of asyncpg, such as too few arguments
        if isinstance(error, SPOILED):
            tx.terminate()
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            await pool.expire_connections()  # the others lead to the same server, which is no longer the primary
        raise unavailable(error) from error
    finally:
        await pool.release(tx)


def _is_lost(tx: Tx) -> bool:
    try:
        return bool(tx.is_closed())
    except InterfaceError:  # the pool took a broken connection away from under its user
        return True
