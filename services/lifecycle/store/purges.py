"""Purges: due work, claimed by lease.

A lease saves work, and is not what makes it right: two workers at one purge delete the same keys, harmlessly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.db import Tx


@dataclass(frozen=True)
class Purge:
    """One pass over a prefix, or over single keys."""

    id: int
    project_id: str
    prefix: str | None
    keys: list[str] | None
    reason: str
    pass_number: int  # from 0
    failures: int  # of this pass


async def schedule_prefixes(tx: Tx, project_id: str, prefixes: Sequence[str], *, reason: str, at: datetime) -> None:
    """Have all that is not live under these prefixes deleted."""
    await tx.execute(
        """
        INSERT INTO purge (project_id, prefix, reason, due_at)
        SELECT $1, prefix, $3, $4 FROM unnest($2::text[]) AS prefix
        """,
        project_id,
        prefixes,
        reason,
        at,
    )


async def schedule_keys(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str, at: datetime) -> None:
    """Have these objects deleted, unless they are live."""
    await tx.execute(
        "INSERT INTO purge (project_id, keys, reason, due_at) VALUES ($1, $2, $3, $4)", project_id, keys, reason, at
    )


async def claim(tx: Tx, worker: str, lease_s: float) -> Purge | None:
    """Take the purge that has been due for longest, if any is."""
    row = await tx.fetchrow(
        """
        UPDATE purge SET leased_by = $1, lease_until = now() + make_interval(secs => $2)
         WHERE id = (SELECT id FROM purge
                      WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                      ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, project_id, prefix, keys, reason, pass AS pass_number, failures
        """,
        worker,
        lease_s,
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


async def next_pass(tx: Tx, purge_id: int, worker: str, *, delay_s: float) -> None:
    """Look again after `delay_s`."""
    await tx.execute(
        """
        UPDATE purge SET pass = pass + 1, failures = 0, leased_by = NULL, lease_until = NULL,
                         due_at = now() + make_interval(secs => $3)
         WHERE id = $1 AND leased_by = $2
        """,
        purge_id,
        worker,
        delay_s,
    )


async def finish(tx: Tx, purge_id: int, worker: str) -> None:
    """The last pass has ended."""
    await tx.execute("DELETE FROM purge WHERE id = $1 AND leased_by = $2", purge_id, worker)


async def pending(tx: Tx) -> int:
    """How many purges have a pass before them."""
    return int(await tx.fetchval("SELECT count(*) FROM purge"))
