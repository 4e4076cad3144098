"""Statements on `upload_stream` and `upload_part`: sequences of parts for the extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.contracts import Format, Part, PartStream, StreamProgress
from libs.db import Tx, columns
from libs.errors import UploadNotFound
from services.gateway.uploads.store.expiry import Lifetime, extended
from services.gateway.uploads.store.rows import COUNTS, prefixed, taken
from services.gateway.uploads.store.sessions import Upload


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_stream`."""

    id: str
    upload_id: str
    number: int
    format: Format
    path: str | None
    size_bytes: int
    total_parts: int
    sha256: str | None
    unpacked: bool
    parts_stored: int
    bytes_stored: int
    parts_done: int
    members: int
    bytes_out: int
    stripped_prefix: str | None
    dropped: list[str]
    deadline_at: datetime | None
    key: str | None
    waiting_for: str | None

    @property
    def complete(self) -> bool:
        """Every part is in storage."""
        return self.parts_stored == self.total_parts

    @property
    def pending(self) -> bool:
        """Every part is in storage, and the extractor is not done with them."""
        return self.complete and not self.unpacked


class StoredPart(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_part`."""

    number: int
    attempt: str
    size_bytes: int
    sha256: str


def stream_id(upload_id: str, number: int, refusals: int = 0) -> str:
    """The id of a stream: the extractor answers for each once, so what is sent again after a refusal is another."""
    return f"{upload_id}-{number}-{refusals}" if refusals else f"{upload_id}-{number}"


_STREAM = columns(Stream)
_PART = columns(StoredPart)


async def insert(
    tx: Tx,
    *,
    stream_id: str,
    upload_id: str,
    number: int,
    format: Format,  # noqa: A002  # the column's name
    path: str | None,
    size_bytes: int,
    total_parts: int,
    sha256: str | None,
) -> None:
    """Announce a stream."""
    await tx.execute(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        stream_id,
        upload_id,
        number,
        format,
        path,
        size_bytes,
        total_parts,
        sha256,
    )


async def insert_object(tx: Tx, stream: PartStream, deadline_at: datetime) -> None:
    """Announce a file that is one object already, to be read for its sha256."""
    await tx.execute(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, sha256, key,
                                   parts_stored, bytes_stored, deadline_at)
        VALUES ($1, $2, $3, 'object', $4, $5, 1, $6, $7, 1, $5, $8)
        """,
        stream.id,
        stream.upload_id,
        stream.number,
        stream.path,
        stream.size_bytes,
        stream.sha256,
        stream.key,
        deadline_at,
    )


async def remove(tx: Tx, stream_id: str) -> Stream | None:
    """Forget a stream and its parts, since they are to be sent again; what it was, None if it is not known."""
    await tx.execute("DELETE FROM upload_part WHERE stream_id = $1", stream_id)
    row = await tx.fetchrow(f"DELETE FROM upload_stream WHERE id = $1 AND NOT unpacked RETURNING {_STREAM}", stream_id)
    return None if row is None else Stream(**row)


async def of_upload(tx: Tx, upload_id: str) -> list[Stream]:
    """All streams of a session, by number."""
    rows = await tx.fetch(f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 ORDER BY number", upload_id)
    return [Stream(**row) for row in rows]


async def of_uploads(tx: Tx, upload_ids: Sequence[str]) -> dict[str, list[Stream]]:
    """All streams of some sessions by session, in the order of their numbers."""
    rows = await tx.fetch(
        f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = ANY ($1) ORDER BY number", list(upload_ids)
    )
    found: dict[str, list[Stream]] = {upload_id: [] for upload_id in upload_ids}
    for row in rows:
        found[row["upload_id"]].append(Stream(**row))
    return found


async def get(tx: Tx, upload_id: str, number: int) -> Stream | None:
    """One stream of a session."""
    row = await tx.fetchrow(
        f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 AND number = $2", upload_id, number
    )
    return None if row is None else Stream(**row)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What one request about a part of an archive is about; None for what is not there."""

    upload: Upload
    stream: Stream | None
    part: StoredPart | None


async def target(tx: Tx, project_id: str, upload_id: str, number: int) -> Target:
    """A session, its first stream, and the part `number` of that. Raises: UploadNotFound."""
    row = await tx.fetchrow(
        f"""
        SELECT {prefixed("u", Upload)}, {prefixed("s", Stream)}, {prefixed("p", StoredPart)}
          FROM upload u
          LEFT JOIN upload_stream s ON s.upload_id = u.id AND s.number = 0
          LEFT JOIN upload_part p ON p.stream_id = s.id AND p.number = $3
         WHERE u.id = $1 AND u.project_id = $2
        """,
        upload_id,
        project_id,
        number,
    )
    if row is None:
        raise UploadNotFound()
    return Target(
        upload=Upload(**{name: row[f"u_{name}"] for name in Upload.__struct_fields__}),
        stream=taken(row, "s", Stream, key="id"),
        part=taken(row, "p", StoredPart, key="number"),
    )


async def by_id(tx: Tx, stream_id: str) -> Stream | None:
    """One stream."""
    row = await tx.fetchrow(f"SELECT {_STREAM} FROM upload_stream WHERE id = $1", stream_id)
    return None if row is None else Stream(**row)


async def part(tx: Tx, stream_id: str, number: int) -> StoredPart | None:
    """One stored part."""
    row = await tx.fetchrow(
        f"SELECT {_PART} FROM upload_part WHERE stream_id = $1 AND number = $2",
        stream_id,
        number,
    )
    return None if row is None else StoredPart(**row)


async def parts(tx: Tx, stream_id: str) -> list[StoredPart]:
    """All stored parts of a stream, by number."""
    rows = await tx.fetch(f"SELECT {_PART} FROM upload_part WHERE stream_id = $1 ORDER BY number", stream_id)
    return [StoredPart(**row) for row in rows]


async def numbers_by_stream(tx: Tx, upload_id: str) -> dict[str, list[int]]:
    """The stored part numbers of every stream of a session, ascending."""
    rows = await tx.fetch(
        """
        SELECT p.stream_id, array_agg(p.number ORDER BY p.number) AS numbers
          FROM upload_part p JOIN upload_stream s ON s.id = p.stream_id
         WHERE s.upload_id = $1 GROUP BY p.stream_id
        """,
        upload_id,
    )
    return {row["stream_id"]: row["numbers"] for row in rows}


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a part: whether it was recorded, the stream with it, and the session's files with it."""

    recorded: bool
    stream: Stream | None  # None of a recorded part: the sizes cannot add up, and the caller rolls back
    arrived: int
    expected: int


async def begin(
    tx: Tx, stream: Stream, part: StoredPart, *, refusals: int, deadline_at: datetime, lifetime: Lifetime
) -> Added:
    """Announce a file's chunks with the first of them, in one statement.

    It is not recorded if the file is being sent in any way, or has been since it had so many `refusals`, or the session
    is not open.
    """
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT id FROM upload WHERE id = $1 AND status = 'open' FOR KEY SHARE
        ), free AS (
            SELECT path, size_bytes, declared_sha256 FROM upload_file
             WHERE upload_id = $1 AND number = $3 AND key IS NULL AND refusals = $4 AND EXISTS (SELECT FROM held)
               AND NOT EXISTS (SELECT FROM upload_transfer WHERE upload_id = $1 AND number = $3)
               FOR NO KEY UPDATE
        ), begun AS (
            INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, sha256,
                                       parts_stored, bytes_stored, deadline_at)
            SELECT $2, $1, $3, 'raw', path, size_bytes, $5, declared_sha256, 1, $8, $10 FROM free
            ON CONFLICT DO NOTHING RETURNING {_STREAM}
        ), added AS (
            INSERT INTO upload_part (stream_id, number, attempt, size_bytes, sha256)
            SELECT id, $6, $7, $8, $9 FROM begun
        ), {extended("begun", ttl="$11", longest="$12")}
        SELECT EXISTS (SELECT FROM begun) AS added, {prefixed("b", Stream)}, {COUNTS}
          FROM (VALUES (1)) AS one LEFT JOIN begun b ON true
        """,
        stream.upload_id,
        stream.id,
        stream.number,
        refusals,
        stream.total_parts,
        part.number,
        part.attempt,
        part.size_bytes,
        part.sha256,
        deadline_at,
        lifetime.ttl,
        lifetime.longest,
    )
    return _added(row, "b")


async def add_part(
    tx: Tx, upload_id: str, stream_id: str, part: StoredPart, *, deadline_at: datetime, lifetime: Lifetime
) -> Added:
    """Record a part and count it, in one statement.

    It is not recorded if one of its number is (of two racing requests, one wins), or the stream is gone, or the session
    is not open. The earliest deadline stays: a part that arrives does not excuse the silence about those before it.
    """
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT u.id FROM upload u JOIN upload_stream s ON s.upload_id = u.id
             WHERE u.id = $1 AND u.status = 'open' AND s.id = $2 FOR KEY SHARE OF u
        ), added AS (
            INSERT INTO upload_part (stream_id, number, attempt, size_bytes, sha256)
            SELECT $2, $3, $4, $5, $6 FROM held
            ON CONFLICT DO NOTHING RETURNING number
        ), counted AS (
            UPDATE upload_stream
               SET parts_stored = parts_stored + 1, bytes_stored = bytes_stored + $5,
                   deadline_at = least(deadline_at, $7)
             WHERE id = $2 AND EXISTS (SELECT FROM added) AND bytes_stored + $5 <= size_bytes
               AND (parts_stored + 1 < total_parts OR bytes_stored + $5 = size_bytes)
            RETURNING {_STREAM}
        ), {extended("counted", ttl="$8", longest="$9")}
        SELECT EXISTS (SELECT FROM added) AS added, {prefixed("c", Stream)}, {COUNTS}
          FROM (VALUES (1)) AS one LEFT JOIN counted c ON true
        """,
        upload_id,
        stream_id,
        part.number,
        part.attempt,
        part.size_bytes,
        part.sha256,
        deadline_at,
        lifetime.ttl,
        lifetime.longest,
    )
    return _added(row, "c")


def _added(row: Mapping[str, Any], alias: str) -> Added:
    stream = taken(row, alias, Stream, key="id")
    last = stream is not None and stream.complete
    return Added(recorded=row["added"], stream=stream, arrived=row["arrived"] + last, expected=row["expected"])


async def record_progress(tx: Tx, reports: Sequence[StreamProgress], *, deadline_at: datetime) -> None:
    """How far the extractor is with some streams; reports may come late or twice, so the numbers only grow.

    A stream is no longer parked. One that is not complete, and whose every part the extractor knows, waits for its
    client: it has no deadline.
    """
    await tx.execute(
        """
        UPDATE upload_stream s
           SET parts_known = greatest(s.parts_known, r.parts_known), parts_done = greatest(s.parts_done, r.parts_done),
               members = greatest(s.members, r.members), bytes_out = greatest(s.bytes_out, r.bytes_out),
               asks = 0, waiting_for = NULL,
               deadline_at = CASE WHEN s.parts_stored = s.total_parts
                                    OR s.parts_stored > greatest(s.parts_known, r.parts_known)
                                  THEN $6::timestamptz END
          FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[], $5::bigint[])
               AS r (id, parts_known, parts_done, members, bytes_out)
         WHERE s.id = r.id AND NOT s.unpacked
        """,
        [report.stream_id for report in reports],
        [report.parts_known for report in reports],
        [report.parts_done for report in reports],
        [report.members for report in reports],
        [report.bytes_out for report in reports],
        deadline_at,
    )


async def park(tx: Tx, upload_id: str, stream_ids: Sequence[str], reason: str, deadline_at: datetime) -> None:
    """The extractor, or we, cannot go on with these streams now; asked again at `deadline_at`."""
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
        deadline_at,
    )


async def resume(tx: Tx, upload_id: str, now: datetime) -> None:
    """Whatever of the session is asked about at some time is due now, and then after the first pause again."""
    await tx.execute(
        """
        UPDATE upload_stream SET deadline_at = $2, asks = 0
         WHERE upload_id = $1 AND NOT unpacked AND deadline_at IS NOT NULL
        """,
        upload_id,
        now,
    )


async def rest(tx: Tx, upload_id: str) -> None:
    """The session has ended: nobody is asked about its streams any more."""
    await tx.execute("UPDATE upload_stream SET deadline_at = NULL WHERE upload_id = $1", upload_id)


async def finish(
    tx: Tx, stream_id: str, *, members: int, bytes_out: int, stripped_prefix: str | None, dropped: Sequence[str]
) -> Stream | None:
    """Mark a stream as unpacked; None if it was already, or is not known."""
    row = await tx.fetchrow(
        f"""
        UPDATE upload_stream
           SET unpacked = true, parts_done = total_parts, members = $2, bytes_out = $3, stripped_prefix = $4,
               dropped = $5, deadline_at = NULL, waiting_for = NULL
         WHERE id = $1 AND NOT unpacked RETURNING {_STREAM}
        """,
        stream_id,
        members,
        bytes_out,
        stripped_prefix,
        list(dropped),
    )
    return None if row is None else Stream(**row)


class Overdue(msgspec.Struct, frozen=True, kw_only=True):
    """A stream to be asked about, for the `asks`th time since it went on, as it was due at `deadline_at`."""

    stream: PartStream
    deadline_at: datetime
    asks: int


async def overdue(tx: Tx, now: datetime, pauses: Sequence[timedelta], limit: int = 20) -> list[Overdue]:
    """Streams whose parts should have been unpacked by now; each gets a new deadline, after the next of `pauses`."""
    rows = await tx.fetch(
        """
        WITH due AS (
            SELECT w.id, w.deadline_at FROM upload_stream w JOIN upload o ON o.id = w.upload_id
             WHERE NOT w.unpacked AND w.deadline_at < $1 AND o.status IN ('open', 'processing')
             ORDER BY w.deadline_at LIMIT $3 FOR UPDATE OF w SKIP LOCKED
        )
        UPDATE upload_stream s
           SET asks = s.asks + 1,
               deadline_at = $1::timestamptz + ($2::interval[])[least(s.asks + 1, cardinality($2::interval[]))]
          FROM due, upload u
         WHERE s.id = due.id AND u.id = s.upload_id
        RETURNING s.id, s.upload_id, u.project_id, u.model_id, s.number, s.format, s.size_bytes, s.total_parts, s.path,
                  s.sha256, s.key, s.asks, due.deadline_at AS was_due_at
        """,
        now,
        list(pauses),
        limit,
    )
    return [
        Overdue(stream=msgspec.convert(dict(row), PartStream), deadline_at=row["was_due_at"], asks=row["asks"])
        for row in rows
    ]


def as_event_parts(stored: Sequence[StoredPart]) -> list[Part]:
    """Stored parts as events carry them."""
    return [Part(number=part.number, attempt=part.attempt, size_bytes=part.size_bytes) for part in stored]
