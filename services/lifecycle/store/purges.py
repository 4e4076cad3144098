"""Purges: deletions that are due, claimed by lease.

The lease saves work and is not needed for correctness: two workers at one purge delete the same keys, harmlessly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.contracts.keys import project_prefix
from libs.db import Tx, columns
from libs.leases import LeaseTable

LEASES = LeaseTable[int](table="purge", key="id", key_type="bigint")
CHANNEL = "purge"  # signalled when a purge was scheduled
PROJECTS_AT_ONCE = 64  # to look at, since other workers may hold the purges of the first ones


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over a prefix, or over single keys."""

    id: int
    fence: int
    project_id: str
    prefix: str | None
    keys: list[str] | None
    reason: str
    pass_number: int  # from 0
    failures: int  # of this pass
    scheduled_at: datetime  # the last time, if it was scheduled repeatedly

    @property
    def of_project(self) -> bool:
        """Whether everything of a project is purged."""
        return self.prefix == project_prefix(self.project_id)


_COLUMNS = columns(Purge).replace("pass_number", "pass AS pass_number")

# A purge that is scheduled while its row exists begins again with its first pass.
_AGAIN = """
    ON CONFLICT (target) WHERE target IS NOT NULL DO UPDATE
       SET pass = 0, failures = 0, due_at = least(purge.due_at, excluded.due_at), scheduled_at = now()
"""


async def schedule_prefixes(tx: Tx, project_id: str, prefixes: Sequence[str], *, reason: str, at: datetime) -> None:
    """Schedule the deletion of every object under these prefixes that is not live."""
    await tx.execute(
        f"""
        INSERT INTO purge (project_id, prefix, target, reason, due_at)
        SELECT DISTINCT $1, prefix, prefix, $3, $4::timestamptz FROM unnest($2::text[]) AS prefix ORDER BY prefix
        {_AGAIN}
        """,
        project_id,
        prefixes,
        reason,
        at,
    )


async def schedule_keys(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str, at: datetime) -> None:
    """Schedule the deletion of these objects, except those that are live."""
    each_once = sorted(set(keys))
    digest = hashlib.sha256("\n".join(each_once).encode()).hexdigest()
    await tx.execute(
        f"INSERT INTO purge (project_id, keys, target, reason, due_at) VALUES ($1, $2, $3, $4, $5) {_AGAIN}",
        project_id,
        each_once,
        f"keys:{digest}",
        reason,
        at,
    )


async def claim(tx: Tx, worker: str, lease_s: float, *, after_project: str = "") -> Purge | None:
    """Lease the purge that has been due for longest of the next project, in order of ids, that has one.

    `after_project` is the project of the last claim: projects take turns, however many purges each has. After the last
    project comes the first.
    """
    claimed = await _claim(tx, worker, lease_s, after_project)
    if claimed is None and after_project:
        claimed = await _claim(tx, worker, lease_s, "")
    return claimed


async def _claim(tx: Tx, worker: str, lease_s: float, after_project: str) -> Purge | None:
    """Probe the index once for each project that has purges, until one is due and not leased."""
    row = await tx.fetchrow(
        f"""
        WITH RECURSIVE turn AS (
            (SELECT project_id, due_at FROM purge WHERE project_id > $3 ORDER BY project_id, due_at LIMIT 1)
            UNION ALL
            SELECT next.project_id, next.due_at
              FROM turn
             CROSS JOIN LATERAL (SELECT project_id, due_at FROM purge WHERE project_id > turn.project_id
                                  ORDER BY project_id, due_at LIMIT 1) AS next
        ), due AS (
            SELECT project_id FROM turn WHERE due_at <= now() LIMIT $4
        ), chosen AS (
            SELECT free.id
              FROM due
             CROSS JOIN LATERAL (SELECT id FROM purge
                                  WHERE project_id = due.project_id AND due_at <= now()
                                    AND (lease_until IS NULL OR lease_until < now())
                                  ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS free
             LIMIT 1
        )
        UPDATE purge SET {LEASES.claimed()}
         WHERE id = (SELECT id FROM chosen)
        RETURNING {_COLUMNS}
        """,
        worker,
        lease_s,
        after_project,
        PROJECTS_AT_ONCE,
    )
    return Purge(**row) if row is not None else None


async def put_back(tx: Tx, purge: Purge, *, delay_s: float, failed: bool) -> None:
    """Give a purge back before its pass has ended; the pass begins again after `delay_s` seconds."""
    await LEASES.release(
        tx,
        purge.id,
        purge.fence,
        "due_at = now() + make_interval(secs => $3), failures = failures + $4::boolean::integer",
        delay_s,
        failed,
    )


async def end_pass(tx: Tx, purge: Purge, *, next_in_s: float) -> None:
    """Give a purge back for its next pass in `next_in_s` seconds; for the first one at once if it was rescheduled."""
    await LEASES.release(
        tx,
        purge.id,
        purge.fence,
        """
        pass = CASE WHEN scheduled_at = $3 THEN pass + 1 ELSE 0 END, failures = 0,
        due_at = now() + make_interval(secs => CASE WHEN scheduled_at = $3 THEN $4 ELSE 0 END)
        """,
        purge.scheduled_at,
        next_in_s,
    )


async def finish(tx: Tx, purge: Purge) -> bool:
    """Delete a purge after its last pass. Returns False if it was scheduled again, or the lease was lost."""
    tag: str = await tx.execute(
        f"DELETE FROM purge WHERE {LEASES.held} AND scheduled_at = $3", purge.id, purge.fence, purge.scheduled_at
    )
    return tag == "DELETE 1"


async def pending(tx: Tx, *, limit: int) -> int:
    """How many purges have a pass before them, counted up to `limit`."""
    return int(
        await tx.fetchval(
            "SELECT count(*) FROM (SELECT FROM purge ORDER BY due_at LIMIT $1) AS pending",
            limit,
        )
    )
