"""The SQL of leases, made from the columns that a table has for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.db import Tx

K = TypeVar("K", str, int, bool)


@dataclass(frozen=True, kw_only=True)
class LeaseTable(Generic[K]):
    """A table whose rows are leased, and the columns that say by whom, until when, and how often they were.

    Which rows may be claimed, and in what order, differs from table to table: that statement is the store's, with
    `claimed` in its SET clause. Everything after the claim is the same, and is here.
    """

    table: str
    key: str  # the column that identifies a row
    key_type: str  # of that column in Postgres, e.g. "text"
    holder: str = "leased_by"  # text: the process; NULL while nobody has the lease
    until: str = "lease_until"  # timestamptz: when another process may take over
    fence: str = "fence"  # bigint: the number of claims so far
    clears_until: bool = True  # False where `until` is also the time of the next claim; then each release sets it

    @property
    def released(self) -> str:
        """Assignments that end a lease, whoever has it."""
        return f"{self.holder} = NULL" + (f", {self.until} = NULL" if self.clears_until else "")

    @property
    def held(self) -> str:
        """The condition that row $1 is still leased under fence $2. Guards every change that a holder makes."""
        return f"{self.key} = $1 AND {self.fence} = $2 AND {self.holder} IS NOT NULL"

    def claimed(self, holder: str = "$1", lease_s: str = "$2") -> str:
        """Assignments of a claim; `holder` and `lease_s` are its parameters."""
        return f"{self.holder} = {holder}, {self.until} = {self.renewed(lease_s)}, {self.fence} = {self.fence} + 1"

    @staticmethod
    def renewed(lease_s: str) -> str:
        """When a lease that begins or is renewed now ends; `lease_s` is a parameter in seconds."""
        return f"now() + make_interval(secs => {lease_s})"

    async def renew(self, tx: Tx, holder: str, leases: Sequence[tuple[K, int]], lease_s: float) -> set[tuple[K, int]]:
        """Extend leases (key and fence) of `holder` to `lease_s` seconds from now, with one statement.

        Leases that have expired and that nobody has claimed are extended too. Returns those that are still held.
        """
        rows = await tx.fetch(
            f"""
            UPDATE {self.table} AS leased SET {self.until} = {self.renewed("$4")}
              FROM unnest($2::{self.key_type}[], $3::bigint[]) AS mine (key, fence)
             WHERE leased.{self.key} = mine.key AND leased.{self.fence} = mine.fence AND leased.{self.holder} = $1
            RETURNING leased.{self.key} AS key, leased.{self.fence} AS fence
            """,
            holder,
            [key for key, _ in leases],
            [fence for _, fence in leases],
            lease_s,
        )
        return {(row["key"], row["fence"]) for row in rows}

    async def release(self, tx: Tx, key: K, fence: int, changes: str = "", *values: object) -> bool:
        """End a lease and make `changes` to the row, assignments whose parameters `values` are numbered from $3.

        Returns False, with nothing changed, if the lease was lost.
        """
        assignments = f"{self.released}, {changes}" if changes else self.released
        tag: str = await tx.execute(f"UPDATE {self.table} SET {assignments} WHERE {self.held}", key, fence, *values)
        return tag == "UPDATE 1"
