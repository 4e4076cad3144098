"""Deletes rows that are older than their table keeps them, in small transactions."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from libs.db import Pool, Tx, transaction

BATCH_ROWS = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """By which column the rows of a table age, and which rows of other tables are deleted with them.

    The column needs an index (with `condition` as its predicate, if that selects few rows).
    """

    table: str
    key: str  # a unique column; "ctid" where there is none
    age: str  # a timestamptz column; rows in which it is NULL stay
    condition: str = ""  # further condition on the rows
    dependents: tuple[str, ...] = ()  # "table.column" of rows that are deleted with the row whose key they hold

    @property
    def _old(self) -> str:
        """The condition on rows older than $1 seconds."""
        old = f"{self.age} < now() - make_interval(secs => $1)"
        return f"{old} AND {self.condition}" if self.condition else old

    @property
    def statement(self) -> str:
        """SQL that deletes up to $2 rows older than $1 seconds and returns how many; rows locked by others are left."""
        dependents = "".join(
            f", of_{table} AS (DELETE FROM {table} WHERE {column} = ANY(ARRAY(SELECT {self.key} FROM old)))"
            for table, _, column in (each.partition(".") for each in self.dependents)
        )
        return f"""
            WITH old AS MATERIALIZED (
                SELECT {self.key} FROM {self.table}
                 WHERE {self._old}
                 ORDER BY {self.age} LIMIT $2 FOR UPDATE SKIP LOCKED
            ){dependents}, gone AS (
                DELETE FROM {self.table} WHERE {self.key} = ANY(ARRAY(SELECT {self.key} FROM old))
                RETURNING {self.key}
            )
            SELECT count(*) FROM gone
            """

    async def forget_some(self, tx: Tx, older_than_s: float, limit: int | None = None) -> int:
        """Delete up to `limit` (BATCH_ROWS) rows older than `older_than_s` seconds. Returns how many."""
        return int(await tx.fetchval(self.statement, older_than_s, limit or BATCH_ROWS))


async def forget(pool: Pool, retention: Retention, older_than_s: float) -> int:
    """Delete all rows older than `older_than_s` seconds, a batch in each transaction. Returns how many.

    Raises: Unavailable; the batches before stay deleted.
    """
    total, some = 0, BATCH_ROWS
    while some == BATCH_ROWS:
        async with transaction(pool) as tx:
            some = await retention.forget_some(tx, older_than_s)
        total += some
    if total:
        log.info("old rows deleted", extra={"table": retention.table, "rows": total})
    return total
