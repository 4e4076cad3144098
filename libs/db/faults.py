"""Which errors of Postgres are faults of the server, not of the statement: the work can be repeated later."""

from __future__ import annotations

import asyncpg
from asyncpg.exceptions import InterfaceError, InternalClientError, OutdatedSchemaCacheError

from libs.errors import Unavailable


class DatabaseAway(Unavailable):
    """The database is not answering, or takes no writes at present; try again shortly."""


# Of the server or the network. After a failover the old primary answers, and accepts no writes.
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

# Of one transaction; the server is available for others.
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

# Errors after which a connection is open, and must not be used again.
SPOILED = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    InternalClientError,
)


def unavailable(error: BaseException) -> Unavailable:
    """The error that callers get for a fault."""
    said = error or type(error).__name__
    if isinstance(error, REPEATABLE):
        return Unavailable(f"The database did not finish this ({said}); try again shortly.")
    return DatabaseAway(f"The database is not answering ({said}); try again shortly.")
