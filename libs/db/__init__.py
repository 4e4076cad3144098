"""Postgres: a pool for one schema, transactions that raise this project's errors, forward-only migrations.

SQL does not name schemas: `search_path` does, so that services (and tests) can share a database.
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
