"""All SQL of the extractor.

An extraction is `open` until it ends as extracted, rejected or stopped. Whoever works on it holds a lease, whose
number (`fence`) guards every statement on its behalf: a process that was paused too long changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from libs import telemetry
from libs.contracts import ArchiveExtracted, ArchiveRejected, Part, PartStream
from libs.db import Tx

Result = ArchiveExtracted | ArchiveRejected

_RESULTS: dict[str, type[Result]] = {"extracted": ArchiveExtracted, "rejected": ArchiveRejected}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on one extraction."""

    stream: PartStream
    fence: int
    deaths: int  # claims in a row before this one whose process did not live to give them back
    failures: int  # attempts before that ended in an error of ours
    troubles: int  # how often it was put off before, for whatever reason
    request_id: str | None
    traceparent: str | None

    @property
    def id(self) -> str:
        """The stream's."""
        return self.stream.id


# What events say


async def lock_upload(tx: Tx, upload_id: str) -> None:
    """Let one transaction at a time tell of an upload, whatever rows it has."""
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


async def add_parts(tx: Tx, upload_id: str, stream_id: str, parts: Sequence[Part]) -> None:
    """Remember stored parts; nothing if they are known, or the stream or its upload has ended."""
    await tx.execute(
        """
        INSERT INTO extraction_part (stream_id, number, attempt, size_bytes, upload_id)
        SELECT $2, part.number, part.attempt, part.size_bytes, $1
          FROM unnest($3::int[], $4::text[], $5::bigint[]) AS part (number, attempt, size_bytes)
         WHERE NOT EXISTS (SELECT FROM ended_upload WHERE upload_id = $1)
           AND NOT EXISTS (SELECT FROM extraction WHERE stream_id = $2 AND state <> 'open')
        ON CONFLICT (stream_id, number) DO NOTHING
        """,
        upload_id,
        stream_id,
        [part.number for part in parts],
        [part.attempt for part in parts],
        [part.size_bytes for part in parts],
    )


async def count_ready(tx: Tx, stream_id: str) -> None:
    """Count the parts from the first one on; only under `lock_upload`."""
    await tx.execute(
        """
        UPDATE extraction e
           SET ready_parts = ready_parts + (
               SELECT count(*)
                 FROM (SELECT number, row_number() OVER (ORDER BY number) AS nth
                         FROM extraction_part p
                        WHERE p.stream_id = e.stream_id AND p.number >= e.ready_parts) AS ahead
                WHERE number = e.ready_parts + nth - 1)
         WHERE stream_id = $1 AND state = 'open'
        """,
        stream_id,
    )


async def result(tx: Tx, stream_id: str) -> Result | None:
    """How the extraction ended; None if it has not, or was stopped, or is not known."""
    row = await tx.fetchrow("SELECT state, result FROM extraction WHERE stream_id = $1", stream_id)
    if row is None or row["result"] is None:
        return None
    return msgspec.convert(row["result"], _RESULTS[row["state"]])


async def end_upload(tx: Tx, upload_id: str) -> list[str]:
    """Stop every extraction of an upload, now and later; the streams that were open. Only under `lock_upload`."""
    await tx.execute("INSERT INTO ended_upload (upload_id) VALUES ($1) ON CONFLICT DO NOTHING", upload_id)
    rows = await tx.fetch(
        """
        UPDATE extraction SET state = 'stopped', ended_at = now(), leased_by = NULL, lease_until = NULL
         WHERE upload_id = $1 AND state = 'open'
        RETURNING stream_id
        """,
        upload_id,
    )
    await tx.execute("DELETE FROM extraction_part WHERE upload_id = $1", upload_id)
    return [row["stream_id"] for row in rows]


# Leases


async def claim(tx: Tx, owner: str, limit: int, lease_s: float) -> list[Claim]:
    """Lease up to `limit` extractions that have parts to read and nobody to read them."""
    rows = await tx.fetch(
        """
        UPDATE extraction
           SET leased_by = $1, lease_until = now() + make_interval(secs => $3),
               fence = fence + 1, deaths = deaths + 1
         WHERE stream_id IN (
               SELECT stream_id FROM extraction
                WHERE state = 'open' AND ready_parts >= wanted_parts AND not_before <= now()
                  AND (lease_until IS NULL OR lease_until <= now())
                ORDER BY not_before
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)
        RETURNING stream, fence, deaths - 1 AS deaths, failures, troubles, request_id, traceparent
        """,
        owner,
        limit,
        lease_s,
    )
    return [msgspec.convert(dict(row), Claim) for row in rows]


async def next_claim_s(tx: Tx) -> float | None:
    """In how many seconds there is something to claim: a backoff ends, or a lease; 0 for now, None for never."""
    seconds: float | None = await tx.fetchval(
        """
        SELECT extract(epoch FROM min(greatest(not_before, lease_until)) - now())::float8
          FROM extraction WHERE state = 'open' AND ready_parts >= wanted_parts
        """
    )
    return None if seconds is None else max(0.0, seconds)


async def renew(tx: Tx, owner: str, claims: Sequence[Claim], lease_s: float) -> set[str]:
    """Keep the leases: the streams that are still ours."""
    rows = await tx.fetch(
        """
        UPDATE extraction e SET lease_until = now() + make_interval(secs => $4)
          FROM unnest($2::text[], $3::bigint[]) AS mine (stream_id, fence)
         WHERE e.stream_id = mine.stream_id AND e.fence = mine.fence AND e.leased_by = $1
        RETURNING e.stream_id
        """,
        owner,
        [claim.id for claim in claims],
        [claim.fence for claim in claims],
        lease_s,
    )
    return {row["stream_id"] for row in rows}


async def hold(tx: Tx, claim: Claim) -> bool:
    """Whether the lease is still held; if so, it is until this transaction ends."""
    held = await tx.fetchval(
        "SELECT true FROM extraction WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL FOR UPDATE",
        claim.id,
        claim.fence,
    )
    return held is not None


async def release(tx: Tx, claim: Claim) -> None:
    """Give the lease back in good order, to be claimed again at once."""
    await tx.execute(
        """
        UPDATE extraction
           SET leased_by = NULL, lease_until = NULL, not_before = now(), deaths = 0
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
    )


async def postpone(tx: Tx, claim: Claim, delay_s: float, *, failed: bool) -> None:
    """Give the lease back, to be claimed again in `delay_s`; `failed` attempts are counted."""
    await tx.execute(
        """
        UPDATE extraction
           SET leased_by = NULL, lease_until = NULL, not_before = now() + make_interval(secs => $3),
               deaths = 0, failures = failures + $4::int, troubles = troubles + 1
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
        delay_s,
        int(failed),
    )


async def park(tx: Tx, claim: Claim) -> None:
    """Give the lease back until twice the parts are there, or all: so all the work is at most twice the archive's."""
    await tx.execute(
        """
        UPDATE extraction
           SET leased_by = NULL, lease_until = NULL, not_before = now(), deaths = 0, failures = 0, troubles = 0,
               wanted_parts = least(total_parts, greatest(ready_parts, 1) * 2)
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        """,
        claim.id,
        claim.fence,
    )


async def finish(tx: Tx, claim: Claim, state: Literal["extracted", "rejected"], result: Result) -> bool:
    """open -> extracted or rejected; False if the lease was lost, or the upload has ended."""
    finished = await tx.fetchval(
        """
        UPDATE extraction
           SET state = $3, result = $4, ended_at = now(), leased_by = NULL, lease_until = NULL
         WHERE stream_id = $1 AND fence = $2 AND leased_by IS NOT NULL
        RETURNING stream_id
        """,
        claim.id,
        claim.fence,
        state,
        result,
    )
    return finished is not None


async def forget_parts(tx: Tx, stream_id: str) -> None:
    """The parts of an extraction that has ended will not be read again."""
    await tx.execute("DELETE FROM extraction_part WHERE stream_id = $1", stream_id)


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


async def forget(tx: Tx, older_than_s: float) -> None:
    """Remove the rows of what ended so long ago, and the parts that were told of after the end."""
    await tx.execute("DELETE FROM extraction WHERE ended_at < now() - make_interval(secs => $1)", older_than_s)
    await tx.execute(
        """
        WITH old AS (DELETE FROM ended_upload WHERE ended_at < now() - make_interval(secs => $1) RETURNING upload_id)
        DELETE FROM extraction_part WHERE upload_id IN (SELECT upload_id FROM old)
        """,
        older_than_s,
    )
