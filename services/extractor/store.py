"""All SQL of the extractor.

An extraction is `open` or `parked` until it ends as extracted, rejected or stopped. Whoever works on it holds a
lease, whose number (`fence`) guards every statement on its behalf: a process that was paused too long changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from libs import telemetry
from libs.archives.tar import TarCheckpoint
from libs.contracts import ArchiveExtracted, ArchiveRejected, Part, PartStream, StoredFile
from libs.db import Tx, columns

Result = ArchiveExtracted | ArchiveRejected

_RESULTS: dict[str, type[Result]] = {"extracted": ArchiveExtracted, "rejected": ArchiveRejected}
_LOOK_FURTHER = 8  # times as many rows as wanted, since other processes may be claiming the first ones just now


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on one extraction."""

    stream: PartStream
    fence: int
    attempts: int  # in a row that stored no file, this one included
    taken_over: bool  # from a process that did not live to give it back
    checkpoint: TarCheckpoint | None
    request_id: str | None
    traceparent: str | None

    @property
    def id(self) -> str:
        """The stream's."""
        return self.stream.id


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """What one more part changed."""

    parts_known: int
    parked: bool
    claimable: bool  # since this part
    readable_by: str | None  # the process that can read on since this part


# What events say


async def lock_upload(tx: Tx, upload_id: str) -> None:
    """Let one transaction at a time open or end an upload, and add parts of streams that are not known yet."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || $1, 0))", upload_id)


async def open_extraction(tx: Tx, stream: PartStream) -> None:
    """Begin an extraction; nothing if it is known, or its upload has ended."""
    context = telemetry.current()
    await tx.execute(
        """
        INSERT INTO extraction (stream_id, upload_id, stream, total_parts, request_id, traceparent)
        SELECT $1, $2, $3, $4, $5, $6
         WHERE NOT EXISTS (SELECT FROM ended_upload WHERE upload_id = $2)
        ON CONFLICT (stream_id) DO NOTHING
        """,
        stream.id,
        stream.upload_id,
        stream,
        stream.total_parts,
        context.request_id,
        context.traceparent,
    )


async def add_part(tx: Tx, upload_id: str, stream_id: str, part: Part) -> Landed | None:
    """Remember a stored part of a stream under way; None, and nothing done, if the stream is not.

    Needs no lock: racing transactions wait for the stream's row, and add to what they then find in it.
    """
    row = await tx.fetchrow(
        """
        WITH updated AS (
            UPDATE extraction e
               SET landed = e.landed + int4multirange(int4range($3, $3 + 1)),
                   ready_parts = greatest(e.ready_parts, coalesce(lower(
                       int4multirange(int4range(0, e.total_parts)) - e.landed - int4multirange(int4range($3, $3 + 1))
                   ), e.total_parts))
              FROM (SELECT claimable, ready_parts FROM extraction WHERE stream_id = $2) AS before
             WHERE e.stream_id = $2 AND e.ended_at IS NULL
            RETURNING e.claimable AND NOT before.claimable AS claimable, e.state = 'parked' AS parked,
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
    """Remember stored parts, perhaps before their stream is known; only under `lock_upload`.

    Nothing if they are known, or the stream or its upload has ended.
    """
    await tx.execute(
        """
        INSERT INTO extraction_part (stream_id, number, attempt, size_bytes, upload_id)
        SELECT $2, part.number, part.attempt, part.size_bytes, $1
          FROM unnest($3::int[], $4::text[], $5::bigint[]) AS part (number, attempt, size_bytes)
         WHERE NOT EXISTS (SELECT FROM ended_upload WHERE upload_id = $1)
           AND NOT EXISTS (SELECT FROM extraction WHERE stream_id = $2 AND ended_at IS NOT NULL)
        ON CONFLICT (stream_id, number) DO NOTHING
        """,
        upload_id,
        stream_id,
        [part.number for part in parts],
        [part.attempt for part in parts],
        [part.size_bytes for part in parts],
    )


async def recount(tx: Tx, stream_id: str) -> Landed | None:
    """Let the stream know of every part that is remembered; None if it is not under way."""
    row = await tx.fetchrow(
        """
        WITH known AS MATERIALIZED (
            SELECT coalesce(range_agg(int4range(number, number + 1)), '{}') AS landed
              FROM extraction_part WHERE stream_id = $1)
        UPDATE extraction e
           SET landed = e.landed + known.landed,
               ready_parts = greatest(e.ready_parts, coalesce(lower(
                   int4multirange(int4range(0, e.total_parts)) - e.landed - known.landed), e.total_parts))
          FROM known, (SELECT claimable, ready_parts FROM extraction WHERE stream_id = $1) AS before
         WHERE e.stream_id = $1 AND e.ended_at IS NULL
        RETURNING e.claimable AND NOT before.claimable AS claimable, e.state = 'parked' AS parked,
                  CASE WHEN e.ready_parts > before.ready_parts THEN e.leased_by END AS readable_by,
                  coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(e.landed) AS r), 0)::int AS parts_known
        """,
        stream_id,
    )
    return None if row is None else Landed(**row)


async def result(tx: Tx, stream_id: str) -> Result | None:
    """How the extraction ended; None if it has not, or was stopped, or is not known."""
    row = await tx.fetchrow("SELECT state, result FROM extraction WHERE stream_id = $1", stream_id)
    if row is None or row["result"] is None:
        return None
    return msgspec.convert(row["result"], _RESULTS[row["state"]])


async def end_upload(tx: Tx, upload_id: str) -> list[str]:
    """Stop every extraction of an upload, now and later; the streams that were under way. Only under `lock_upload`."""
    await tx.execute("INSERT INTO ended_upload (upload_id) VALUES ($1) ON CONFLICT DO NOTHING", upload_id)
    rows = await tx.fetch(
        """
        UPDATE extraction SET state = 'stopped', ended_at = now(), leased_by = NULL, lease_until = NULL
         WHERE upload_id = $1 AND ended_at IS NULL
        RETURNING stream_id
        """,
        upload_id,
    )
    await tx.execute("DELETE FROM extraction_part WHERE upload_id = $1", upload_id)
    stream_ids = [row["stream_id"] for row in rows]
    await tx.execute("DELETE FROM extraction_file WHERE stream_id = ANY($1)", stream_ids)
    return stream_ids


async def resume(tx: Tx, upload_id: str, stream_ids: Sequence[str]) -> list[str]:
    """Let these streams of an upload be claimed at once, as if nothing had failed; those that can be."""
    rows = await tx.fetch(
        """
        UPDATE extraction SET state = 'open', not_before = now(), attempts = 0
         WHERE stream_id = ANY($2) AND upload_id = $1 AND ended_at IS NULL AND leased_by IS NULL
        RETURNING stream_id, claimable
        """,
        upload_id,
        stream_ids,
    )
    return [row["stream_id"] for row in rows if row["claimable"]]


# Leases


async def claim(
    tx: Tx,
    owner: str,
    limit: int,
    lease_s: float,
    *,
    of_one_project: int,
    running: Sequence[str] = (),
    take_over: bool = True,
) -> list[Claim]:
    """Lease up to `limit` extractions that have parts to read and nobody to read them, fairly between projects.

    The project with the fewest leases comes first, then what has waited longest; `owner` gets no more than
    `of_one_project` of the same project. Without `take_over`, leases that have run out stay as they are; those of the
    streams that are `running` here do so always, since they can still be renewed.
    """
    further = limit * _LOOK_FURTHER
    rows = await tx.fetch(_CLAIM, owner, limit, lease_s, of_one_project, take_over, further, running)
    return [msgspec.convert(dict(row), Claim) for row in rows]


# Only the projects that have something in the queue are visited, each by one step on the index.
_CLAIM = """
    WITH RECURSIVE project AS (
        (SELECT project_id FROM extraction WHERE claimable ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.project_id FROM extraction e
                 WHERE e.claimable AND e.project_id > p.project_id ORDER BY e.project_id LIMIT 1)
          FROM project p WHERE p.project_id IS NOT NULL
    ), running AS (
        SELECT project_id, count(*) AS leases, count(*) FILTER (WHERE leased_by = $1) AS mine
          FROM extraction WHERE leased_by IS NOT NULL AND lease_until > now()
         GROUP BY project_id
    ), candidate AS (
        SELECT queued.stream_id, p.project_id, queued.not_before
          FROM project p
         CROSS JOIN LATERAL (
               SELECT stream_id, not_before FROM extraction
                WHERE claimable AND project_id = p.project_id AND not_before <= now()
                ORDER BY not_before LIMIT $6) AS queued
        UNION ALL
        SELECT stream_id, project_id, not_before FROM extraction
         WHERE leased_by IS NOT NULL AND lease_until <= now() AND $5 AND stream_id <> ALL($7)
    ), ranked AS (
        SELECT stream_id, project_id, not_before, coalesce(mine, 0) AS mine,
               coalesce(leases, 0) + row_number() OVER (PARTITION BY project_id ORDER BY not_before) AS turn
          FROM candidate LEFT JOIN running USING (project_id)
    ), free AS MATERIALIZED (
        SELECT locked.stream_id, locked.taken_over, wanted.project_id, wanted.mine, wanted.turn
          FROM (SELECT stream_id, project_id, mine, turn FROM ranked ORDER BY turn, not_before LIMIT $6) AS wanted
         CROSS JOIN LATERAL (
               SELECT e.stream_id, e.leased_by IS NOT NULL AS taken_over FROM extraction e
                WHERE e.stream_id = wanted.stream_id
                  AND (e.claimable OR (e.leased_by IS NOT NULL AND e.lease_until <= now()))
                  FOR UPDATE SKIP LOCKED) AS locked
         LIMIT $2
    ), placed AS MATERIALIZED (
        SELECT stream_id, taken_over, mine + row_number() OVER (PARTITION BY project_id ORDER BY turn) AS place
          FROM free
    ), chosen AS MATERIALIZED (
        SELECT stream_id, taken_over FROM placed WHERE place <= $4
    )
    UPDATE extraction e
       SET state = 'open', leased_by = $1, lease_until = now() + make_interval(secs => $3),
           fence = fence + 1, attempts = attempts + 1
      FROM chosen
     WHERE e.stream_id = ANY(ARRAY(SELECT stream_id FROM chosen)) AND e.stream_id = chosen.stream_id
    RETURNING stream, fence, attempts, taken_over, checkpoint, request_id, traceparent
"""


async def next_claim_s(tx: Tx, owner: str) -> float | None:
    """In how many seconds there is something to claim: a pause ends, or another's lease; 0 for now, None for never."""
    seconds: float | None = await tx.fetchval(
        """
        SELECT extract(epoch FROM least(
                   (SELECT min(not_before) FROM extraction WHERE claimable),
                   (SELECT min(lease_until) FROM extraction WHERE leased_by IS NOT NULL AND leased_by <> $1)
               ) - now())::float8
        """,
        owner,
    )
    return None if seconds is None else max(0.0, seconds)


async def renew(tx: Tx, owner: str, claims: Sequence[Claim], lease_s: float) -> set[tuple[str, int]]:
    """Keep the leases, also those that have run out and nobody has claimed: stream and fence of those still held."""
    rows = await tx.fetch(
        """
        UPDATE extraction e SET lease_until = now() + make_interval(secs => $4)
          FROM unnest($2::text[], $3::bigint[]) AS mine (stream_id, fence)
         WHERE e.stream_id = mine.stream_id AND e.fence = mine.fence AND e.leased_by = $1
        RETURNING e.stream_id, e.fence
        """,
        owner,
        [claim.id for claim in claims],
        [claim.fence for claim in claims],
        lease_s,
    )
    return {(row["stream_id"], row["fence"]) for row in rows}


async def release(tx: Tx, claim: Claim) -> None:
    """Give the lease back in good order, to be claimed again at once; the attempt does not count."""
    await tx.execute(
        """
        UPDATE extraction
           SET leased_by = NULL, lease_until = NULL, not_before = now(), attempts = greatest(attempts - 1, 0)
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
    )


async def postpone(tx: Tx, claim: Claim, pause_s: float) -> None:
    """Give the lease back, to be claimed again in `pause_s`."""
    await tx.execute(
        """
        UPDATE extraction SET leased_by = NULL, lease_until = NULL, not_before = now() + make_interval(secs => $3)
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
        pause_s,
    )


async def park(tx: Tx, claim: Claim, pause_s: float) -> bool:
    """open -> parked, to be claimed again in `pause_s`; False if the lease was lost, or the upload has ended."""
    parked = await tx.fetchval(
        """
        UPDATE extraction
           SET state = 'parked', leased_by = NULL, lease_until = NULL, not_before = now() + make_interval(secs => $3)
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        RETURNING stream_id
        """,
        claim.id,
        claim.fence,
        pause_s,
    )
    return parked is not None


async def give_way(tx: Tx, claim: Claim) -> None:
    """Give the lease back until twice the parts are there, or all: so all the work is at most twice the archive's."""
    await tx.execute(
        """
        UPDATE extraction
           SET leased_by = NULL, lease_until = NULL, not_before = now(), attempts = 0,
               wanted_parts = least(total_parts, greatest(ready_parts, 1) * 2)
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
    )


async def add_files(
    tx: Tx, claim: Claim, first: int, files: Sequence[StoredFile], checkpoint: TarCheckpoint | None
) -> bool:
    """Remember stored files, numbered from `first` on, and where to go on; False if the lease was lost.

    The same again is fine.
    """
    held = await tx.fetchval(
        """
        WITH held AS (
            UPDATE extraction SET attempts = 1, checkpoint = $4
             WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
            RETURNING stream_id
        ), added AS (
            INSERT INTO extraction_file (stream_id, number, path, size_bytes, sha256, key)
            SELECT $1, $3 + file.nth - 1, file.path, file.size_bytes, file.sha256, file.key
              FROM unnest($5::text[], $6::bigint[], $7::text[], $8::text[])
                   WITH ORDINALITY AS file (path, size_bytes, sha256, key, nth), held
            ON CONFLICT (stream_id, number) DO NOTHING
        )
        SELECT true FROM held
        """,
        claim.id,
        claim.fence,
        first,
        checkpoint,
        [file.path for file in files],
        [file.size_bytes for file in files],
        [file.sha256 for file in files],
        [file.key for file in files],
    )
    return held is not None


async def finish(tx: Tx, claim: Claim, state: Literal["extracted", "rejected"], result: Result) -> bool:
    """open -> extracted or rejected; False if the lease was lost, or the upload has ended."""
    finished = await tx.fetchval(
        """
        UPDATE extraction
           SET state = $3, result = $4, ended_at = now(), leased_by = NULL, lease_until = NULL, checkpoint = NULL
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        RETURNING stream_id
        """,
        claim.id,
        claim.fence,
        state,
        result,
    )
    return finished is not None


async def forget_progress(tx: Tx, stream_id: str) -> None:
    """The parts and files of an extraction that has ended will not be read again."""
    await tx.execute(
        """
        WITH files AS (DELETE FROM extraction_file WHERE stream_id = $1)
        DELETE FROM extraction_part WHERE stream_id = $1
        """,
        stream_id,
    )


# Reading


async def parts_from(tx: Tx, stream_id: str, first: int) -> list[Part]:
    """The stored parts from number `first` on, up to the first that is missing."""
    rows = await tx.fetch(
        """
        SELECT number, attempt, size_bytes
          FROM (SELECT number, attempt, size_bytes, row_number() OVER (ORDER BY number) AS nth
                  FROM extraction_part WHERE stream_id = $1 AND number >= $2) AS ahead
         WHERE number = $2 + nth - 1
         ORDER BY number
        """,
        stream_id,
        first,
    )
    return [Part(row["number"], row["attempt"], row["size_bytes"]) for row in rows]


async def files(tx: Tx, stream_id: str) -> list[StoredFile]:
    """What earlier attempts stored, in the archive's order."""
    rows = await tx.fetch(
        f"SELECT {columns(StoredFile)} FROM extraction_file WHERE stream_id = $1 ORDER BY number",
        stream_id,
    )
    return [StoredFile(**row) for row in rows]


# Forgetting


async def forget(tx: Tx, older_than_s: float, limit: int) -> int:
    """Remove up to `limit` extractions that ended so long ago; how many there were."""
    return int(
        await tx.fetchval(
            """
            WITH old AS MATERIALIZED (
                SELECT stream_id FROM extraction WHERE ended_at < now() - make_interval(secs => $1)
                 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
            ), parts AS (
                DELETE FROM extraction_part WHERE stream_id = ANY(ARRAY(SELECT stream_id FROM old))
            ), files AS (
                DELETE FROM extraction_file WHERE stream_id = ANY(ARRAY(SELECT stream_id FROM old))
            ), gone AS (
                DELETE FROM extraction WHERE stream_id = ANY(ARRAY(SELECT stream_id FROM old)) RETURNING stream_id
            )
            SELECT count(*) FROM gone
            """,
            older_than_s,
            limit,
        )
    )


async def forget_uploads(tx: Tx, older_than_s: float, limit: int) -> int:
    """Remove up to `limit` uploads that ended so long ago, and parts that came after the end; how many there were."""
    return int(
        await tx.fetchval(
            """
            WITH old AS MATERIALIZED (
                SELECT upload_id FROM ended_upload WHERE ended_at < now() - make_interval(secs => $1)
                 ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
            ), parts AS (
                DELETE FROM extraction_part WHERE upload_id = ANY(ARRAY(SELECT upload_id FROM old))
            ), gone AS (
                DELETE FROM ended_upload WHERE upload_id = ANY(ARRAY(SELECT upload_id FROM old)) RETURNING upload_id
            )
            SELECT count(*) FROM gone
            """,
            older_than_s,
            limit,
        )
    )
