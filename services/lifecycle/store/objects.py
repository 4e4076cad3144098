"""Objects and references. The WHERE clauses are the state machine: live -> dropped -> deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.contracts import StoredFile
from libs.db import Tx


async def register(tx: Tx, project_id: str, files: Sequence[StoredFile], *, at: datetime) -> set[str]:
    """Make new objects live. Returns the keys that are live now; a key that was dropped before stays so.

    Locks every row it returns. In order of keys, as every statement that locks several.
    """
    by_key = {file.key: file for file in files}
    rows = await tx.fetch(
        """
        INSERT INTO object (key, project_id, size_bytes, sha256, state, registered_at, changed_at)
        SELECT key, $2, size_bytes, sha256, 'live', $5, $5
          FROM unnest($1::text[], $3::bigint[], $4::text[]) AS file (key, size_bytes, sha256)
         ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE SET state = 'live' WHERE object.state = 'live'
        RETURNING key
        """,
        list(by_key),
        project_id,
        [file.size_bytes for file in by_key.values()],
        [file.sha256 for file in by_key.values()],
        at,
    )
    return {row["key"] for row in rows}


async def refer(tx: Tx, keys: Sequence[str], holder_kind: str, holder_id: str) -> None:
    """Record who holds on to live objects."""
    await tx.execute(
        """
        INSERT INTO reference (key, holder_kind, holder_id)
        SELECT key, $2, $3 FROM unnest($1::text[]) AS key
            ON CONFLICT DO NOTHING
        """,
        keys,
        holder_kind,
        holder_id,
    )


async def drop(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str, at: datetime) -> None:
    """live -> dropped; a key that was never registered is recorded as dropped, and will not be."""
    await tx.execute(
        """
        INSERT INTO object (key, project_id, state, reason, changed_at)
        SELECT DISTINCT key COLLATE "C", $2, 'dropped', $3, $4::timestamptz
          FROM unnest($1::text[]) AS key ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE
           SET state = 'dropped', reason = excluded.reason, changed_at = excluded.changed_at, missing_since = NULL
         WHERE object.state = 'live'
        """,
        keys,
        project_id,
        reason,
        at,
    )


async def release(tx: Tx, keys: Sequence[str]) -> None:
    """Forget who held on to these objects."""
    await tx.execute("DELETE FROM reference WHERE key = ANY($1)", keys)


async def condemn(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str) -> list[str]:
    """Which of these may be deleted: all but the live ones. What was never heard of is recorded as dropped.

    A registration that is about to commit is waited for; one that comes later finds the key dropped.
    """
    rows = await tx.fetch(
        """
        INSERT INTO object (key, project_id, state, reason, changed_at)
        SELECT DISTINCT key COLLATE "C", $2, 'dropped', $3, now()
          FROM unnest($1::text[]) AS key ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE SET changed_at = now() WHERE object.state <> 'live'
        RETURNING key
        """,
        keys,
        project_id,
        reason,
    )
    return [row["key"] for row in rows]


async def bury(tx: Tx, keys: Sequence[str]) -> list[str]:
    """dropped -> deleted. Returns those that were not deleted before."""
    rows = await tx.fetch(
        """
        UPDATE object SET state = 'deleted', changed_at = now()
         WHERE key = ANY($1) AND state = 'dropped'
        RETURNING key
        """,
        keys,
    )
    return [row["key"] for row in rows]


async def dropped_under(tx: Tx, prefix: str) -> list[str]:
    """What is still to be deleted there, whether or not storage has it: a purge may have ended between the two."""
    rows = await tx.fetch(
        "SELECT key FROM object WHERE key >= $1 AND starts_with(key, $1) AND state = 'dropped' ORDER BY key", prefix
    )
    return [row["key"] for row in rows]


async def forget(tx: Tx, older_than_s: float) -> int:
    """Remove the rows of objects that were deleted so long ago that no event can tell of them any more."""
    tag: str = await tx.execute(
        "DELETE FROM object WHERE state = 'deleted' AND changed_at < now() - make_interval(secs => $1)",
        older_than_s,
    )
    return int(tag.split()[-1])


async def strangers(tx: Tx, keys: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """Those of `keys` that are not live, nor about to be purged; `prefixes` are the purgeable ones that `keys` have."""
    rows = await tx.fetch(
        """
        SELECT key FROM unnest($1::text[], $2::text[]) AS found (key, prefix)
         WHERE NOT EXISTS (SELECT FROM object WHERE object.key = found.key AND state IN ('live', 'dropped'))
           AND NOT EXISTS (SELECT FROM purge WHERE purge.prefix = found.prefix)
        """,
        keys,
        prefixes,
    )
    return [row["key"] for row in rows]


async def absent(
    tx: Tx, keys: Sequence[str], *, after: str, up_to: str | None, registered_before: datetime, limit: int
) -> list[str]:
    """Live objects with a key in (after, up_to] that are not among `keys`, which were all that is stored there."""
    rows = await tx.fetch(
        """
        SELECT key FROM object
         WHERE key > $2 AND ($3::text IS NULL OR key <= $3)
           AND state = 'live' AND registered_at < $4 AND key <> ALL($1)
         ORDER BY key LIMIT $5
        """,
        keys,
        after,
        up_to,
        registered_before,
        limit,
    )
    return [row["key"] for row in rows]


async def mark_missing(tx: Tx, keys: Sequence[str]) -> list[str]:
    """Note which live objects are not in storage. Returns those that were there when last looked for."""
    rows = await tx.fetch(
        """
        UPDATE object SET missing_since = now()
         WHERE key = ANY($1) AND state = 'live' AND missing_since IS NULL
        RETURNING key
        """,
        keys,
    )
    return [row["key"] for row in rows]


async def unmark_missing(tx: Tx, still_missing: Sequence[str]) -> None:
    """Every object but these was found again."""
    await tx.execute(
        "UPDATE object SET missing_since = NULL WHERE missing_since IS NOT NULL AND key <> ALL($1)", still_missing
    )


async def count_missing(tx: Tx) -> int:
    """How many live objects were not found in storage."""
    return int(await tx.fetchval("SELECT count(*) FROM object WHERE missing_since IS NOT NULL"))
