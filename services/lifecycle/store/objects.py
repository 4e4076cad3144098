"""Objects and references. The guards of the states come from `states`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.contracts import StoredFile
from libs.db import Tx, columns
from libs.states import sql_in
from services.lifecycle import states


class MissingObject(msgspec.Struct, frozen=True, kw_only=True):
    """A live object that was not in storage when it was last looked for."""

    key: str
    project_id: str


async def register(tx: Tx, project_id: str, files: Sequence[StoredFile], *, at: datetime) -> set[str]:
    """Insert objects as live. Returns the keys that are live now; a key that was dropped before stays dropped.

    Locks every row that it returns, in order of keys, as every statement that locks several.
    """
    by_key = {file.key: file for file in files}
    rows = await tx.fetch(
        f"""
        INSERT INTO object (key, project_id, size_bytes, sha256, state, registered_at, changed_at)
        SELECT key, $2, size_bytes, sha256, '{states.REGISTER.target}', $5, $5
          FROM unnest($1::text[], $3::bigint[], $4::text[]) AS file (key, size_bytes, sha256)
         ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE SET state = object.state WHERE object.state = '{states.REGISTER.target}'
        RETURNING key
        """,
        list(by_key),
        project_id,
        [file.size_bytes for file in by_key.values()],
        [file.sha256 for file in by_key.values()],
        at,
    )
    return {row["key"] for row in rows}


async def add_references(tx: Tx, keys: Sequence[str], holder_kind: str, holder_id: str) -> None:
    """Record that a holder has these live objects."""
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


async def remove_references(tx: Tx, keys: Sequence[str]) -> None:
    """Delete all references to these objects."""
    await tx.execute(
        """
        DELETE FROM reference
         WHERE (key, holder_kind, holder_id) IN (
               SELECT key, holder_kind, holder_id FROM reference
                WHERE key = ANY($1) ORDER BY key, holder_id FOR UPDATE)
        """,
        keys,
    )


async def record_reads(tx: Tx, keys: Sequence[str], *, again_after_s: float) -> list[str]:
    """Record that these live objects are read now, of those in the hot tier once in `again_after_s` seconds.

    Returns those that are in the cold tier. Objects that another statement has locked are left out.
    """
    rows = await tx.fetch(
        f"""
        WITH read AS (
            SELECT key FROM object
             WHERE key = ANY($1) AND state = '{states.LIVE}'
               AND (tier = 'cold' OR last_read_at < now() - make_interval(secs => $2))
             ORDER BY key FOR UPDATE SKIP LOCKED
        )
        UPDATE object SET last_read_at = now() FROM read WHERE object.key = read.key
        RETURNING object.key, object.tier
        """,
        keys,
        again_after_s,
    )
    return sorted(row["key"] for row in rows if row["tier"] == "cold")


async def drop(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str, at: datetime) -> None:
    """live -> dropped. A key that was never registered is inserted as dropped, so that it cannot be registered."""
    await tx.execute(
        f"""
        INSERT INTO object (key, project_id, state, reason, changed_at)
        SELECT DISTINCT key COLLATE "C", $2, '{states.DROP_UNREGISTERED.target}', $3, $4::timestamptz
          FROM unnest($1::text[]) AS key ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE
           SET state = '{states.DROP.target}', reason = excluded.reason, changed_at = excluded.changed_at,
               missing_since = NULL, missing_reported_at = NULL
         WHERE object.state {sql_in(states.DROP.sources)}
        """,
        keys,
        project_id,
        reason,
        at,
    )


async def drop_some_of(tx: Tx, project_id: str, *, reason: str, limit: int) -> list[str]:
    """live -> dropped, up to `limit` objects of a project that was deleted; none of any other project.

    Returns their keys.
    """
    rows = await tx.fetch(
        f"""
        UPDATE object
           SET state = '{states.DROP.target}', reason = $2, changed_at = now(), missing_since = NULL,
               missing_reported_at = NULL
         WHERE key = ANY (ARRAY(SELECT key FROM object
                                 WHERE project_id = $1 AND state = '{states.LIVE}'
                                   AND EXISTS (SELECT FROM project WHERE id = $1 AND deleted_at IS NOT NULL)
                                 ORDER BY key LIMIT $3 FOR UPDATE))
           AND state {sql_in(states.DROP.sources)}
        RETURNING key
        """,
        project_id,
        reason,
        limit,
    )
    return [row["key"] for row in rows]


async def mark_for_deletion(tx: Tx, project_id: str, keys: Sequence[str], *, reason: str) -> list[str]:
    """Mark these objects for deletion from storage. Returns those that may be deleted: all but the live ones.

    A key that no event has named is inserted as dropped. Waits for a registration that is about to commit; a later one
    finds the key dropped.
    """
    rows = await tx.fetch(
        f"""
        INSERT INTO object (key, project_id, state, reason, changed_at)
        SELECT DISTINCT key COLLATE "C", $2, '{states.DROP_UNREGISTERED.target}', $3, now()
          FROM unnest($1::text[]) AS key ORDER BY key COLLATE "C"
            ON CONFLICT (key) DO UPDATE SET changed_at = now() WHERE object.state <> '{states.LIVE}'
        RETURNING key
        """,
        keys,
        project_id,
        reason,
    )
    return [row["key"] for row in rows]


async def mark_deleted(tx: Tx, keys: Sequence[str]) -> list[str]:
    """dropped -> deleted. Returns the keys that were dropped."""
    rows = await tx.fetch(
        f"""
        UPDATE object SET state = '{states.DELETE.target}', changed_at = now()
         WHERE key = ANY($1) AND state {sql_in(states.DELETE.sources)}
        RETURNING key
        """,
        keys,
    )
    return [row["key"] for row in rows]


async def dropped_under(tx: Tx, prefix: str, *, after: str, limit: int) -> list[str]:
    """Dropped keys under a prefix and above `after`, in order.

    Storage may have deleted them already: a purge may have ended before it recorded that.
    """
    rows = await tx.fetch(
        f"""
        SELECT key FROM object
         WHERE key > greatest($2::text COLLATE "C", $1) AND key < $3 AND state = '{states.DROPPED}'
         ORDER BY key LIMIT $4
        """,
        prefix,
        after,
        _end_of(prefix),
        limit,
    )
    return [row["key"] for row in rows]


async def unknown(tx: Tx, keys: Sequence[str], prefixes: Sequence[str], *, dropped_for_s: float) -> list[str]:
    """Those of `keys` that no model has, as far as is known, and that are not about to be purged.

    `prefixes`: for each key, the prefix that a purge of its upload has. An object that was dropped `dropped_for_s`
    seconds ago counts as unknown: its purge is gone.
    """
    rows = await tx.fetch(
        f"""
        SELECT key FROM unnest($1::text[], $2::text[]) AS found (key, prefix)
         WHERE NOT EXISTS (SELECT FROM object WHERE object.key = found.key
                              AND (state = '{states.LIVE}'
                                       AND EXISTS (SELECT FROM reference WHERE reference.key = found.key)
                                   OR state = '{states.DROPPED}' AND changed_at > now() - make_interval(secs => $3)))
           AND NOT EXISTS (SELECT FROM purge WHERE purge.prefix = found.prefix)
        """,
        keys,
        prefixes,
        dropped_for_s,
    )
    return [row["key"] for row in rows]


async def absent(
    tx: Tx, keys: Sequence[str], *, after: str, up_to: str | None, registered_before: datetime, limit: int
) -> list[str]:
    """Live objects with a key in (after, up_to] that are not among `keys`, which are all that storage has there."""
    rows = await tx.fetch(
        f"""
        SELECT key FROM object
         WHERE key > $2 AND ($3::text IS NULL OR key <= $3)
           AND state = '{states.LIVE}' AND registered_at < $4 AND key <> ALL($1)
         ORDER BY key LIMIT $5
        """,
        keys,
        after,
        up_to,
        registered_before,
        limit,
    )
    return [row["key"] for row in rows]


async def mark_missing(tx: Tx, keys: Sequence[str]) -> tuple[int, int, int]:
    """Record live objects as missing in storage.

    Returns how many, how many of them are not reported yet, and the bytes of all.
    """
    rows = await tx.fetch(
        f"""
        UPDATE object
           SET missing_since = coalesce(missing_since, now()),
               missing_reported_at = CASE WHEN missing_since IS NOT NULL THEN missing_reported_at END
         WHERE key = ANY($1) AND state = '{states.LIVE}'
        RETURNING missing_reported_at, size_bytes
        """,
        keys,
    )
    return len(rows), sum(row["missing_reported_at"] is None for row in rows), sum(row["size_bytes"] for row in rows)


async def missing(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Objects marked as missing, with a key above `after`, in order of keys."""
    rows = await tx.fetch(
        "SELECT key FROM object WHERE missing_since IS NOT NULL AND key > $1 ORDER BY key LIMIT $2", after, limit
    )
    return [row["key"] for row in rows]


async def report_missing(tx: Tx, keys: Sequence[str], *, missing_for_s: float) -> list[MissingObject]:
    """Record that these are reported as missing. Returns those missing for `missing_for_s` and not reported before."""
    rows = await tx.fetch(
        f"""
        UPDATE object SET missing_reported_at = now()
         WHERE key = ANY($1) AND state = '{states.LIVE}' AND missing_reported_at IS NULL
           AND missing_since <= now() - make_interval(secs => $2)
        RETURNING {columns(MissingObject)}
        """,
        keys,
        missing_for_s,
    )
    return [MissingObject(**row) for row in rows]


async def unmark_missing(tx: Tx, keys: Sequence[str]) -> list[MissingObject]:
    """Record that these are in storage. Returns those that were reported as missing."""
    rows = await tx.fetch(
        f"""
        WITH marked AS (
            SELECT {columns(MissingObject)}, missing_reported_at FROM object
             WHERE key = ANY($1) AND missing_since IS NOT NULL ORDER BY key FOR UPDATE
        ), unmarked AS (
            UPDATE object SET missing_since = NULL, missing_reported_at = NULL
             WHERE key IN (SELECT key FROM marked)
        )
        SELECT {columns(MissingObject)} FROM marked WHERE missing_reported_at IS NOT NULL
        """,
        keys,
    )
    return [MissingObject(**row) for row in rows]


async def count_missing(tx: Tx, *, limit: int) -> int:
    """How many live objects were not found in storage, counted up to `limit`."""
    return int(
        await tx.fetchval(
            """
            SELECT count(*) FROM (
                SELECT FROM object WHERE missing_since IS NOT NULL ORDER BY key LIMIT $1
            ) AS missing
            """,
            limit,
        )
    )


def _end_of(prefix: str) -> str:
    """The first string, in byte order, above all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
