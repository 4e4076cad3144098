"""Moves of objects between tiers, claimed by lease: from before the copy until the other tier has nothing.

Unlike a purge's, this lease is needed for correctness: only its holder deletes a copy of a live object. See
`move_worker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from libs.contracts import Tier
from libs.db import Tx, columns
from libs.leases import LeaseTable
from services.lifecycle import states

LEASES = LeaseTable[str](table="move", key="key", key_type="text")
CHANNEL = "move"  # signalled when a move was scheduled
PROJECTS_AT_ONCE = 16  # of which unread objects are scheduled in one round
OBJECTS_AT_ONCE = 64  # of one project in one round, and in one claim
TOGETHER_BYTES = 16 * 1024 * 1024  # objects up to this size are claimed together, larger ones alone

Reason = Literal["unread", "read", "leftover", "misplaced"]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A leased move, and what its object was at the time of the claim."""

    key: str
    fence: int
    project_id: str
    tier: Tier  # where the object is to be
    failures: int
    state: str | None  # of the object; None if it is not known any more
    stored_in: Tier | None  # the object's tier
    size_bytes: int  # 0 where the object was never registered, as the digest is ""
    sha256: str


_HELD = "move.key = mine.key AND move.fence = mine.fence AND move.leased_by IS NOT NULL"
_MINE = "unnest($1::text[], $2::bigint[]) AS mine (key, fence)"


def _named(moves: Sequence[Move]) -> tuple[list[str], list[int]]:
    return [move.key for move in moves], [move.fence for move in moves]


async def schedule_unread(tx: Tx, *, unread_for_s: float, rest_s: float, after_project: str) -> str | None:
    """Schedule moves to the cold tier of live objects that were not read for `unread_for_s` seconds.

    A round of some projects, in order of ids above `after_project`, and of some objects of each, the longest unread
    first. Objects whose last move ended less than `rest_s` seconds ago stay. Returns the last project of the round;
    None if there was nothing.
    """
    last: str | None = await tx.fetchval(
        f"""
        WITH RECURSIVE turn AS (
            (SELECT project_id, last_read_at FROM object
              WHERE state = '{states.LIVE}' AND tier = 'hot' AND project_id > $3
              ORDER BY project_id, last_read_at LIMIT 1)
            UNION ALL
            SELECT next.project_id, next.last_read_at
              FROM turn
             CROSS JOIN LATERAL (SELECT project_id, last_read_at FROM object
                                  WHERE state = '{states.LIVE}' AND tier = 'hot' AND project_id > turn.project_id
                                  ORDER BY project_id, last_read_at LIMIT 1) AS next
        ), due AS (
            SELECT project_id FROM turn WHERE last_read_at < now() - make_interval(secs => $1) LIMIT $4
        ), scheduled AS (
            INSERT INTO move (key, project_id, tier, reason, size_bytes)
            SELECT unread.key, unread.project_id, 'cold', 'unread', unread.size_bytes
              FROM due
             CROSS JOIN LATERAL (
                   SELECT key, project_id, size_bytes FROM object
                    WHERE project_id = due.project_id AND state = '{states.LIVE}' AND tier = 'hot'
                      AND last_read_at < now() - make_interval(secs => $1) AND missing_since IS NULL
                      AND (moved_at IS NULL OR moved_at < now() - make_interval(secs => $2))
                      AND NOT EXISTS (SELECT FROM move WHERE move.key = object.key)
                    ORDER BY last_read_at LIMIT $5 FOR UPDATE SKIP LOCKED) AS unread
                ON CONFLICT DO NOTHING
            RETURNING project_id
        )
        SELECT max(project_id) FROM scheduled
        """,
        unread_for_s,
        rest_s,
        after_project,
        PROJECTS_AT_ONCE,
        OBJECTS_AT_ONCE,
    )
    return last


async def schedule_cold(tx: Tx, *, rest_s: float, after: str) -> str | None:
    """Schedule moves to the hot tier of some objects of the cold one with a key above `after`, to empty it.

    Returns the last of them; None if there are none. Those that are being moved already count.
    """
    last: str | None = await tx.fetchval(
        f"""
        WITH cold AS (
            SELECT key, project_id, size_bytes, moved_at FROM object
             WHERE state = '{states.LIVE}' AND tier = 'cold' AND key > $2
             ORDER BY key LIMIT $3 FOR UPDATE SKIP LOCKED
        ), scheduled AS (
            INSERT INTO move (key, project_id, tier, reason, size_bytes)
            SELECT key, project_id, 'hot', 'emptied', size_bytes FROM cold
             WHERE moved_at IS NULL OR moved_at < now() - make_interval(secs => $1)
                ON CONFLICT DO NOTHING
        )
        SELECT max(key) FROM cold
        """,
        rest_s,
        after,
        PROJECTS_AT_ONCE * OBJECTS_AT_ONCE,
    )
    return last


async def schedule(tx: Tx, keys: Sequence[str], tier: Tier, *, reason: Reason, rest_s: float) -> int:
    """Schedule that these live objects are in this tier and in no other. Returns how many.

    Not those that are being moved, or whose last move ended less than `rest_s` seconds ago; nor those that another
    statement has locked, which may be ending a move at this moment.
    """
    tag: str = await tx.execute(
        f"""
        INSERT INTO move (key, project_id, tier, reason, size_bytes)
        SELECT key, project_id, $2, $3, size_bytes FROM (
               SELECT key, project_id, size_bytes FROM object
                WHERE key = ANY($1) AND state = '{states.LIVE}'
                  AND (moved_at IS NULL OR moved_at < now() - make_interval(secs => $4))
                ORDER BY key FOR UPDATE SKIP LOCKED) AS settled
            ON CONFLICT DO NOTHING
        """,
        keys,
        tier,
        reason,
        rest_s,
    )
    return int(tag.split()[-1])


async def claim(tx: Tx, worker: str, lease_s: float) -> list[Move]:
    """Lease the move that has been due for longest, to the hot tier before any to the cold one.

    If it is of a small object, also other small ones of the same project to the same tier.
    """
    rows = await tx.fetch(
        f"""
        WITH first AS (
            SELECT key, project_id, tier, size_bytes FROM move
             WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
             ORDER BY tier DESC, due_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ), together AS (
            SELECT move.key
              FROM first
              JOIN move ON move.project_id = first.project_id AND move.tier = first.tier
             WHERE first.size_bytes <= $3 AND move.size_bytes <= $3
               AND move.due_at <= now() AND (move.lease_until IS NULL OR move.lease_until < now())
             ORDER BY move.due_at LIMIT $4 FOR UPDATE OF move SKIP LOCKED
        ), claimed AS (
            UPDATE move SET {LEASES.claimed()}
             WHERE key IN (SELECT key FROM first UNION SELECT key FROM together)
            RETURNING key, fence, project_id, tier, failures
        )
        SELECT claimed.key, claimed.fence, claimed.project_id, claimed.tier, claimed.failures,
               object.state, object.tier AS stored_in,
               coalesce(object.size_bytes, 0) AS size_bytes, coalesce(object.sha256, '') AS sha256
          FROM claimed LEFT JOIN object ON object.key = claimed.key
         ORDER BY claimed.key
        """,
        worker,
        lease_s,
        TOGETHER_BYTES,
        OBJECTS_AT_ONCE,
    )
    return [Move(**row) for row in rows]


async def commit(tx: Tx, moves: Sequence[Move]) -> list[str]:
    """Record that these objects are in the tier that they are moved to. Returns the keys for which that holds.

    Not those whose lease was lost, nor those that are not live any more: a purge may have deleted the copy.
    """
    rows = await tx.fetch(
        f"""
        WITH held AS (
            SELECT object.key, move.tier
              FROM {_MINE}
              JOIN move ON {_HELD}
              JOIN object ON object.key = move.key
             WHERE object.state = '{states.LIVE}'
             ORDER BY object.key FOR UPDATE OF object, move
        )
        UPDATE object SET tier = held.tier, moved_at = now()
          FROM held WHERE object.key = held.key
        RETURNING object.key
        """,
        *_named(moves),
    )
    return sorted(row["key"] for row in rows)


async def confirmed(tx: Tx, moves: Sequence[Move]) -> set[str]:
    """Those of the moves that are still leased, and whose live object is recorded in the tier that it is moved to."""
    rows = await tx.fetch(
        f"""
        SELECT move.key
          FROM {_MINE}
          JOIN move ON {_HELD}
          JOIN object ON object.key = move.key AND object.tier = move.tier
         WHERE object.state = '{states.LIVE}'
        """,
        *_named(moves),
    )
    return {row["key"] for row in rows}


async def lock(tx: Tx, moves: Sequence[Move]) -> None:
    """Lock the objects of these moves."""
    await tx.execute("SELECT key FROM object WHERE key = ANY($1) ORDER BY key FOR UPDATE", [each.key for each in moves])


async def finish(tx: Tx, moves: Sequence[Move]) -> None:
    """Delete moves that have ended; those whose lease was lost stay. From now on their objects rest.

    After `lock`, so that no other move of an object is scheduled between the end of this one and its rest.
    """
    await tx.execute(
        f"""
        WITH ended AS (
            DELETE FROM move USING {_MINE} WHERE {_HELD}
            RETURNING move.key
        )
        UPDATE object SET moved_at = now() FROM ended WHERE object.key = ended.key
        """,
        *_named(moves),
    )


async def put_back(tx: Tx, moves: Sequence[Move], *, delay_s: float, failed: bool) -> None:
    """Give moves back before they have ended; they begin again after `delay_s` seconds."""
    await tx.execute(
        f"""
        UPDATE move SET {LEASES.released}, due_at = now() + make_interval(secs => $3),
               failures = failures + $4::boolean::integer
          FROM {_MINE} WHERE {_HELD}
        """,
        *_named(moves),
        delay_s,
        failed,
    )


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a live object is recorded."""

    key: str
    tier: Tier
    moving: bool  # a move of it is scheduled or under way


async def placed(tx: Tx, keys: Sequence[str]) -> dict[str, Placed]:
    """Those of `keys` that are live objects, by key."""
    rows = await tx.fetch(
        f"""
        SELECT {columns(Placed).replace("moving", "EXISTS (SELECT FROM move WHERE move.key = object.key) AS moving")}
          FROM object WHERE key = ANY($1) AND state = '{states.LIVE}'
        """,
        keys,
    )
    return {row["key"]: Placed(**row) for row in rows}


async def any_cold(tx: Tx) -> bool:
    """Whether a live object is recorded in the cold tier."""
    first = f"SELECT key FROM object WHERE state = '{states.LIVE}' AND tier = 'cold' ORDER BY key LIMIT 1"
    return await tx.fetchval(first) is not None


async def pending(tx: Tx, *, limit: int) -> int:
    """How many moves are scheduled or under way, counted up to `limit`."""
    return int(await tx.fetchval("SELECT count(*) FROM (SELECT FROM move ORDER BY key LIMIT $1) AS pending", limit))
