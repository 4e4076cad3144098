"""Statements on `upload_stream` about when the extractor is asked about a stream again, and for what it waits.

`deadline_at` is when a report of the extractor was due; once that is `stale_after_s` (a setting) ago, the sweeper asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from libs.contracts import PartStream, StreamProgress
from libs.db import Tx
from libs.states import sql_in
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import sources

QUEUED_PAUSE = timedelta(minutes=30)  # of a file whose turn at the extractor has not come


async def record_progress(tx: Tx, reports: Sequence[StreamProgress], *, due_at: datetime) -> None:
    """Record how far the extractor is with some streams; reports may come late or twice, so the numbers only grow.

    A stream is no longer parked. One that is not complete, and whose every part the extractor knows, waits for its
    client: it has no deadline. A file of an import that only waits for its turn is asked about seldom.
    """
    await tx.execute(
        """
        UPDATE upload_stream s
           SET parts_known = greatest(s.parts_known, r.parts_known), parts_done = greatest(s.parts_done, r.parts_done),
               members = greatest(s.members, r.members), bytes_out = greatest(s.bytes_out, r.bytes_out),
               asks = 0, waiting_for = NULL,
               deadline_at = CASE WHEN s.parts_stored = s.total_parts
                                    OR s.parts_stored > greatest(s.parts_known, r.parts_known)
                                  THEN CASE WHEN s.format = 'remote' AND greatest(s.bytes_out, r.bytes_out) = 0
                                            THEN $6::timestamptz + $7::interval ELSE $6::timestamptz END END
          FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[], $5::bigint[])
               AS r (id, parts_known, parts_done, members, bytes_out)
         WHERE s.id = r.id AND NOT s.unpacked
        """,
        [report.stream_id for report in reports],
        [report.parts_known for report in reports],
        [report.parts_done for report in reports],
        [report.members for report in reports],
        [report.bytes_out for report in reports],
        due_at,
        QUEUED_PAUSE,
    )


async def park(tx: Tx, upload_id: str, stream_ids: Sequence[str], reason: str, due_at: datetime) -> None:
    """Record why these streams cannot be unpacked now; the next report on them is due at `due_at`."""
    await tx.execute(
        """
        UPDATE upload_stream
           SET parked_at = CASE WHEN waiting_for IS NULL THEN now() ELSE parked_at END, waiting_for = $3,
               deadline_at = $4
         WHERE upload_id = $1 AND id = ANY ($2) AND NOT unpacked
        """,
        upload_id,
        list(stream_ids),
        reason,
        due_at,
    )


async def resume(tx: Tx, upload_id: str, due_at: datetime) -> None:
    """Set the deadlines of an upload's streams that have one to `due_at`, as if they had not been asked about yet."""
    await tx.execute(
        """
        UPDATE upload_stream SET deadline_at = $2, asks = 0
         WHERE upload_id = $1 AND NOT unpacked AND deadline_at IS NOT NULL
        """,
        upload_id,
        due_at,
    )


async def rest(tx: Tx, upload_id: str) -> None:
    """Clear the deadlines of an upload that has ended."""
    await tx.execute("UPDATE upload_stream SET deadline_at = NULL WHERE upload_id = $1", upload_id)


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """A stream on which a report was due at `due_at`; it is asked about for the `asks`th time in a row."""

    stream: PartStream
    due_at: datetime
    asks: int


async def overdue(tx: Tx, before: datetime, pauses: Sequence[timedelta], limit: int = 20) -> list[Overdue]:
    """Streams on which a report was due before `before`; the next one is due after the next of `pauses`, from there."""
    rows = await tx.fetch(
        f"""
        WITH due AS (
            SELECT w.id, w.deadline_at FROM upload_stream w JOIN upload o ON o.id = w.upload_id
             WHERE NOT w.unpacked AND w.deadline_at < $1 AND o.status {sql_in(LIVE)}
             ORDER BY w.deadline_at LIMIT $3 FOR UPDATE OF w SKIP LOCKED
        )
        UPDATE upload_stream s
           SET asks = s.asks + 1,
               deadline_at = $1::timestamptz + ($2::interval[])[least(s.asks + 1, cardinality($2::interval[]))]
          FROM due, upload u {sources.JOINS}
         WHERE s.id = due.id AND u.id = s.upload_id
        RETURNING s.id, s.upload_id, u.project_id, u.model_id, s.number, s.format, s.size_bytes, s.total_parts, s.path,
                  s.sha256, s.key, {sources.REMOTE} AS remote, s.asks, due.deadline_at AS was_due_at
        """,
        before,
        list(pauses),
        limit,
    )
    return [
        Overdue(stream=msgspec.convert(dict(row), PartStream), due_at=row["was_due_at"], asks=row["asks"])
        for row in rows
    ]
