"""Purges: due work, claimed by lease.

A lease saves work, and is not what makes it right: two workers at one purge delete the same keys, harmlessly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.db import Tx, columns

PROJECTS_AT_ONCE = 64  # whose turn may be skipped, since others hold their purges


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over a prefix, or over single keys."""

    id: int
    project_id: str
    prefix: str | None
    keys: list[str] | None
    reason: str
    pass_number: int  # from 0
    failures: int  # of this pass
    scheduled_at: datetime  # for the last time


_COLUMNS = columns(Purge).replace("pass_number", "pass AS pass_number")

# Scheduled while it is there already: all its passes, from now on, in the same row.
_AGAIN = """
    ON CONFLICT (target) WHERE target IS NOT NULL DO UPDATE
       SET pass = 0, failures = 0, due_at = least(purge.due_at, excluded.due_at), scheduled_at = now()
"""


async def schedule_prefixes(tx: Tx, project_id: str, prefixes: Sequence[str], *, reason: str, at: datetime) -> None:
    """Have all that is not live under these prefixes deleted."""
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
    """Have these objects deleted, unless they are live."""
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
    """Take the purge that has been due for longest of the next project that has one, in order of ids.

    `after_project` is the project whose turn was last: each has one pass, however much the others have to do. Beyond
    the last project comes the first.
    """
    claimed = await _claim(tx, worker, lease_s, after_project)
    if claimed is None and after_project:
        claimed = await _claim(tx, worker, lease_s, "")
    return claimed


async def _claim(tx: Tx, worker: str, lease_s: float, after_project: str) -> Purge | None:
    """One probe of the index for each project that has purges, until one of them is due and free."""
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
        UPDATE purge SET leased_by = $1, lease_until = now() + make_interval(secs => $2)
         WHERE id = (SELECT id FROM chosen)
        RETURNING {_COLUMNS}
        """,
        worker,
        lease_s,
        after_project,
        PROJECTS_AT_ONCE,
    )
    return Purge(**row) if row is not None else None


async def renew(tx: Tx, purge_id: int, worker: str, lease_s: float) -> bool:
    """Hold a purge for longer. Returns False if another worker has it now."""
    tag: str = await tx.execute(
        "UPDATE purge SET lease_until = now() + make_interval(secs => $3) WHERE id = $1 AND leased_by = $2",
        purge_id,
        worker,
        lease_s,
    )
    return tag == "UPDATE 1"


async def put_back(tx: Tx, purge_id: int, worker: str, *, delay_s: float, failed: bool) -> None:
    """Give a purge back before its pass has ended; it begins again after `delay_s`."""
    await tx.execute(
        """
        UPDATE purge SET leased_by = NULL, lease_until = NULL,
                         due_at = now() + make_interval(secs => $3), failures = failures + $4::boolean::integer
         WHERE id = $1 AND leased_by = $2
        """,
        purge_id,
        worker,
        delay_s,
        failed,
    )


async def end_pass(tx: Tx, purge: Purge, worker: str, *, next_in_s: float) -> None:
    """Look again after `next_in_s`; at once, and from the first pass on, if it was scheduled again meanwhile."""
    await tx.execute(
        """
        UPDATE purge SET pass = CASE WHEN scheduled_at = $3 THEN pass + 1 ELSE 0 END, failures = 0,
                         leased_by = NULL, lease_until = NULL,
                         due_at = now() + make_interval(secs => CASE WHEN scheduled_at = $3 THEN $4 ELSE 0 END)
         WHERE id = $1 AND leased_by = $2
        """,
        purge.id,
        worker,
        purge.scheduled_at,
        next_in_s,
    )


async def finish(tx: Tx, purge: Purge, worker: str) -> bool:
    """The last pass has ended. Returns False if it was scheduled again meanwhile, or another worker has it."""
    tag: str = await tx.execute(
        "DELETE FROM purge WHERE id = $1 AND leased_by = $2 AND scheduled_at = $3",
        purge.id,
        worker,
        purge.scheduled_at,
    )
    return tag == "DELETE 1"


async def forget(tx: Tx, older_than_s: float, *, limit: int) -> int:
    """Remove up to `limit` purges that were scheduled so long ago that they will not succeed any more.

    What they left is found by the audit, which asks about it anew. Returns how many.
    """
    tag: str = await tx.execute(
        """
        DELETE FROM purge WHERE id IN (
            SELECT id FROM purge WHERE scheduled_at < now() - make_interval(secs => $1)
             ORDER BY scheduled_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        older_than_s,
        limit,
    )
    return int(tag.split()[-1])


async def pending(tx: Tx, *, limit: int) -> int:
    """How many purges have a pass before them, counted up to `limit`."""
    return int(
        await tx.fetchval(
            "SELECT count(*) FROM (SELECT FROM purge ORDER BY due_at LIMIT $1) AS pending",
            limit,
        )
    )
