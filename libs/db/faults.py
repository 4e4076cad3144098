"""Which of Postgres' errors are the server's and not the statement's: repeating the work later is all that it takes."""

from __future__ import annotations

import asyncpg
from asyncpg.exceptions import InterfaceError, InternalClientError, OutdatedSchemaCacheError

from libs.errors import Unavailable


class DatabaseAway(Unavailable):
    """The database is not answering, or takes no writes at present; try again shortly."""


# The server, or the way to it. After a failover the old primary answers, but takes no writes.
AWAY = (
    OSError,  # refused, reset, no such socket; TimeoutError is one too
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,  # the connection was closed; we were slow, or paused
    asyncpg.IdleSessionTimeoutError,
    InternalClientError,  # a server that dies says so between two statements, in a state that asyncpg does not know
)

# This transaction; the server is there for others.
REPEATABLE = (
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,  # lock_timeout
    asyncpg.TransactionTimeoutError,
    asyncpg.InvalidCachedStatementError,  # "cached plan must not change result type": forgotten now, prepared anew next
    OutdatedSchemaCacheError,
    asyncpg.InvalidSQLStatementNameError,  # prepared on another server, before a failover or by a pooler
    asyncpg.DuplicatePreparedStatementError,
)

FAULTS = (*AWAY, *REPEATABLE, InterfaceError)

# What makes a connection useless for whoever gets it next, although it is open.
SPOILED = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    InternalClientError,
)


def unavailable(error: BaseException) -> Unavailable:
    """What callers are told of a fault. Raises nothing."""
    said = error or type(error).__name__
    if isinstance(error, REPEATABLE):
        return Unavailable(f"The database did not finish this ({said}); try again shortly.")
    return DatabaseAway(f"The database is not answering ({said}); try again shortly.")
