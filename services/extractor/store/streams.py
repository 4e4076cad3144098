"""Extractions and their stored parts, as events report them.

An extraction is `open` or `parked` until it ends as extracted, rejected or stopped (see `states`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs import telemetry
from libs.contracts import ArchiveExtracted, ArchiveRejected, Part, PartStream
from libs.db import Tx
from libs.states import sql_in
from services.extractor import states
from services.extractor.store.leases import LEASES, WITHOUT_CREDENTIALS, Result

# Channels; each is signalled with the id of a stream
READABLE = "extraction_parts"  # the attempt that reads the stream can read on
STOPPED = "extraction_stopped"  # its upload has ended

RESULTS: dict[str, type[Result]] = {states.EXTRACTED: ArchiveExtracted, states.REJECTED: ArchiveRejected}
_UNDER_WAY = f"state {sql_in(states.UNDER_WAY)}"


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a stored part on its stream."""

    parts_known: int
    parked: bool
    claimable: bool  # because of this part
    readable_by: str | None  # the process that reads the stream, if it can read on because of this part


async def lock_upload(tx: Tx, upload_id: str) -> None:
    """Lock an upload until the end of the transaction: for opening or ending it, and for parts of unknown streams."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || $1, 0))", upload_id)


async def open_extraction(tx: Tx, stream: PartStream) -> None:
    """Insert an extraction; does nothing if it exists, or if its upload has ended."""
    context = telemetry.current()
    await tx.execute(
        """
        INSERT INTO extraction (stream_id, upload_id, stream, total_parts, wanted_parts, request_id, traceparent)
        SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE NOT EXISTS (SELECT FROM ended_upload WHERE upload_id = $2)
        ON CONFLICT (stream_id) DO NOTHING
        """,
        stream.id,
        stream.upload_id,
        stream,
        stream.total_parts,
        1 if stream.remote is None else stream.total_parts + 1,  # not `claimable` but `fetchable`
        context.request_id,
        context.traceparent,
    )


async def add_part(tx: Tx, upload_id: str, stream_id: str, part: Part) -> Landed | None:
    """Record a stored part of a stream. Returns None, with nothing recorded, if the stream is not under way.

    Needs no `lock_upload`: concurrent transactions wait for the stream's row, and add to what they then find in it.
    """
    row = await tx.fetchrow(
        f"""
        WITH updated AS (
            UPDATE extraction e
               SET landed = e.landed + int4multirange(int4range($3, $3 + 1)),
                   ready_parts = greatest(e.ready_parts, coalesce(lower(
                       int4multirange(int4range(0, e.total_parts)) - e.landed - int4multirange(int4range($3, $3 + 1))
                   ), e.total_parts))
              FROM (SELECT claimable, ready_parts FROM extraction WHERE stream_id = $2) AS before
             WHERE e.stream_id = $2 AND e.{_UNDER_WAY}
            RETURNING e.claimable AND NOT before.claimable AS claimable, e.state = '{states.PARKED}' AS parked,
                      CASE WHEN e.ready_parts > before.ready_parts THEN e.leased_by END AS readable_by,
                      (SELECT sum(upper(r) - lower(r)) FROM unnest(e.landed) AS r)::int AS parts_known
        ), added AS (
            INSERT INTO extraction_part (stream_id, number, attempt, size_bytes, upload_id)
            SELECT $2, $3, $4, $5, $1 FROM updated
            ON CONFLICT (stream_id, number) DO NOTHING
        )
        SELECT claimable, parked, readable_by, parts_known FROM updated
        """,
        upload_id,
        stream_id,
        part.number,
        part.attempt,
        part.size_bytes,
    )
    return None if row is None else Landed(**row)


async def insert_parts(tx: Tx, upload_id: str, stream_id: str, parts: Sequence[Part]) -> None:
    """Record stored parts, also of a stream that is not known yet. Needs `lock_upload`.

    Does nothing for parts that are recorded, or if the stream or its upload has ended.
    """
    await tx.execute(
        f"""
        INSERT INTO extraction_part (stream_id, number, attempt, size_bytes, upload_id)
        SELECT $2, part.number, part.attempt, part.size_bytes, $1
          FROM unnest($3::int[], $4::text[], $5::bigint[]) AS part (number, attempt, size_bytes)
         WHERE NOT EXISTS (SELECT FROM ended_upload WHERE upload_id = $1)
           AND NOT EXISTS (SELECT FROM extraction WHERE stream_id = $2 AND NOT {_UNDER_WAY})
        ON CONFLICT (stream_id, number) DO NOTHING
        """,
        upload_id,
        stream_id,
        [part.number for part in parts],
        [part.attempt for part in parts],
        [part.size_bytes for part in parts],
    )


async def recount(tx: Tx, stream_id: str) -> Landed | None:
    """Add every recorded part to its stream's row. Returns None if the stream is not under way."""
    row = await tx.fetchrow(
        f"""
        WITH known AS MATERIALIZED (
            SELECT coalesce(range_agg(int4range(number, number + 1)), '{{}}') AS landed
              FROM extraction_part WHERE stream_id = $1)
        UPDATE extraction e
           SET landed = e.landed + known.landed,
               ready_parts = greatest(e.ready_parts, coalesce(lower(
                   int4multirange(int4range(0, e.total_parts)) - e.landed - known.landed), e.total_parts))
          FROM known, (SELECT claimable, ready_parts FROM extraction WHERE stream_id = $1) AS before
         WHERE e.stream_id = $1 AND e.{_UNDER_WAY}
        RETURNING e.claimable AND NOT before.claimable AS claimable, e.state = '{states.PARKED}' AS parked,
                  CASE WHEN e.ready_parts > before.ready_parts THEN e.leased_by END AS readable_by,
                  coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(e.landed) AS r), 0)::int AS parts_known
        """,
        stream_id,
    )
    return None if row is None else Landed(**row)


async def result(tx: Tx, stream_id: str) -> Result | None:
    """The result of an extraction; None if it has none yet, was stopped, or is unknown."""
    row = await tx.fetchrow("SELECT state, result FROM extraction WHERE stream_id = $1", stream_id)
    if row is None or row["result"] is None:
        return None
    return msgspec.convert(row["result"], RESULTS[row["state"]])


async def end_upload(tx: Tx, upload_id: str) -> list[str]:
    """Stop every extraction of an upload, and those still to come. Returns the streams that were under way.

    Needs `lock_upload`.
    """
    await tx.execute("INSERT INTO ended_upload (upload_id) VALUES ($1) ON CONFLICT DO NOTHING", upload_id)
    rows = await tx.fetch(
        f"""
        UPDATE extraction
           SET state = '{states.STOP.target}', ended_at = now(), {LEASES.released}, {WITHOUT_CREDENTIALS}
         WHERE upload_id = $1 AND state {sql_in(states.STOP.sources)}
        RETURNING stream_id
        """,
        upload_id,
    )
    await tx.execute("DELETE FROM extraction_part WHERE upload_id = $1", upload_id)
    stream_ids = [row["stream_id"] for row in rows]
    await tx.execute("DELETE FROM extraction_file WHERE stream_id = ANY($1)", stream_ids)
    return stream_ids


async def resume(tx: Tx, upload_id: str, stream_ids: Sequence[str]) -> list[str]:
    """open or parked -> open, to be claimed at once with all attempts left. Returns the streams that can be claimed."""
    rows = await tx.fetch(
        f"""
        UPDATE extraction SET state = '{states.RESUME.target}', not_before = now(), attempts = 0
         WHERE stream_id = ANY($2) AND upload_id = $1 AND state {sql_in(states.RESUME.sources)} AND leased_by IS NULL
        RETURNING stream_id, claimable OR fetchable AS claimable
        """,
        upload_id,
        stream_ids,
    )
    return [row["stream_id"] for row in rows if row["claimable"]]
