"""Holders: the models that refer to objects, until when each does, and what expires with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.db import Tx
from services.lifecycle import states


async def add(tx: Tx, holder_id: str, kind: str) -> bool:
    """Record a holder. Returns False if it was erased before: then it must not get references.

    A registration may be told again, long after it happened: it has no time of its own.
    """
    return not await tx.fetchval(
        """
        INSERT INTO holder (id, kind, changed_at) VALUES ($1, $2, '-infinity')
            ON CONFLICT (id) DO UPDATE SET kind = excluded.kind
        RETURNING erased
        """,
        holder_id,
        kind,
    )


async def end(tx: Tx, holder_id: str, kind: str, *, until: datetime | None, at: datetime) -> None:
    """Record until when a holder refers to its objects (None: no end is known).

    Does nothing if something that happened after `at` is recorded, or the holder is erased.
    """
    await tx.execute(
        """
        INSERT INTO holder (id, kind, until, changed_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (id) DO UPDATE SET until = excluded.until, changed_at = excluded.changed_at
         WHERE holder.changed_at <= excluded.changed_at AND NOT holder.erased
        """,
        holder_id,
        kind,
        until,
        at,
    )


async def erase(tx: Tx, holder_id: str, kind: str, *, at: datetime) -> None:
    """Record that a holder is gone for good."""
    await tx.execute(
        """
        INSERT INTO holder (id, kind, erased, changed_at) VALUES ($1, $2, true, $3)
            ON CONFLICT (id) DO UPDATE SET erased = true, changed_at = greatest(holder.changed_at, excluded.changed_at)
        """,
        holder_id,
        kind,
        at,
    )


async def remove_references(tx: Tx, holder_id: str, kind: str) -> None:
    """Delete all references of a holder."""
    await tx.execute(
        """
        DELETE FROM reference
         WHERE (key, holder_kind, holder_id) IN (
               SELECT key, holder_kind, holder_id FROM reference
                WHERE holder_id = $1 AND holder_kind = $2 ORDER BY key FOR UPDATE)
        """,
        holder_id,
        kind,
    )


async def expiring(tx: Tx, keys: Sequence[str]) -> tuple[int, int]:
    """How many of `keys` are live objects that only deleted holders have, and their bytes."""
    row = await tx.fetchrow(
        f"""
        SELECT count(*) AS objects, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
          FROM object
         WHERE key = ANY($1) AND state = '{states.LIVE}'
           AND EXISTS (SELECT FROM reference WHERE reference.key = object.key)
           AND NOT EXISTS (SELECT FROM reference LEFT JOIN holder ON holder.id = reference.holder_id
                            WHERE reference.key = object.key AND holder.until IS NULL)
        """,
        keys,
    )
    return row["objects"], row["size_bytes"]


async def expires_at(tx: Tx, key: str) -> datetime | None:
    """When the last of the holders of a live object ends; None if one of them has no end."""
    expiry: datetime | None = await tx.fetchval(
        """
        SELECT CASE WHEN bool_and(holder.until IS NOT NULL) THEN max(holder.until) END
          FROM reference LEFT JOIN holder ON holder.id = reference.holder_id
         WHERE reference.key = $1
        """,
        key,
    )
    return expiry
