"""Postgres: a pool that lives in one schema, transactions with the house's errors, forward-only migrations.

SQL is unqualified: `search_path` names the schema, so that services (and tests) share a database without meeting.
"""

from libs.db.faults import DatabaseAway
from libs.db.migrations import MigrationChanged, migrate
from libs.db.pool import Pool, WrongSchema, columns, open_pool
from libs.db.transactions import Tx, after_commit, connection, pool_of, schema_of, transaction

__all__ = [
    "DatabaseAway",
    "MigrationChanged",
    "Pool",
    "Tx",
    "WrongSchema",
    "after_commit",
    "columns",
    "connection",
    "migrate",
    "open_pool",
    "pool_of",
    "schema_of",
    "transaction",
]
