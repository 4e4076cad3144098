"""Stored objects that no event has named: recorded by an audit, which asks the gateway about them at its end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.db import Tx
from services.lifecycle import states

LONGEST_PAUSE = 24  # times the first one, between two questions about one object


class Unclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """An object to ask about."""

    key: str
    project_id: str


async def record(tx: Tx, found: Sequence[Unclaimed], *, audit: int) -> None:
    """Record the unclaimed objects that the pass `audit` has found."""
    await tx.execute(
        """
        INSERT INTO unclaimed (key, project_id, pass)
        SELECT key, project_id, $3 FROM unnest($1::text[], $2::text[]) AS found (key, project_id)
            ON CONFLICT (key) DO UPDATE SET pass = excluded.pass
        """,
        [each.key for each in found],
        [each.project_id for each in found],
        audit,
    )


async def recorded(tx: Tx, *, audit: int, after: str, limit: int) -> list[Unclaimed]:
    """The unclaimed objects of the pass `audit` with a key above `after`, in order of keys."""
    rows = await tx.fetch(
        "SELECT key, project_id FROM unclaimed WHERE pass = $1 AND key > $2 ORDER BY key LIMIT $3", audit, after, limit
    )
    return [Unclaimed(**row) for row in rows]


async def ask(tx: Tx, keys: Sequence[str], *, now: bool, pause_s: float) -> list[Unclaimed]:
    """Count a question about each object that is due (or all, with `now`) and that still no model has. Returns those.

    The next question about the same object is due after `pause_s` seconds, then after twice as long, and so on.
    """
    rows = await tx.fetch(
        f"""
        UPDATE unclaimed
           SET asks = asks + 1, ask_at = now() + make_interval(secs => $3 * least(2.0 ^ least(asks, 20), $4))
         WHERE key = ANY($1) AND ($2 OR ask_at <= now())
           AND NOT EXISTS (SELECT FROM object JOIN reference ON reference.key = object.key
                            WHERE object.key = unclaimed.key AND object.state = '{states.LIVE}')
        RETURNING key, project_id
        """,
        keys,
        now,
        pause_s,
        LONGEST_PAUSE,
    )
    return sorted((Unclaimed(**row) for row in rows), key=lambda each: each.key)


async def forget(tx: Tx, *, before: int, limit: int) -> int:
    """Delete up to `limit` rows that no pass from `before` on has recorded. Returns how many."""
    tag: str = await tx.execute(
        "DELETE FROM unclaimed WHERE key IN (SELECT key FROM unclaimed WHERE pass < $1 ORDER BY pass LIMIT $2)",
        before,
        limit,
    )
    return int(tag.split()[-1])
