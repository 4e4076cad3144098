"""Statements on `upload_stream` and `upload_part`: sequences of parts for the extractor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.contracts import Format, Part, PartStream
from libs.db import Tx, columns


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


_STREAM = columns(Stream)
_PART = columns(StoredPart)


async def insert(
    tx: Tx,
    *,
    upload_id: str,
    number: int,
    format: Format,  # noqa: A002  # the column's name
    path: str | None,
    size_bytes: int,
    total_parts: int,
    sha256: str | None,
) -> None:
    """Announce a stream; a stream of this number that is there already is left as it is.

    No conflict target: two first chunks that race may collide on either of the table's unique constraints.
    """
    await tx.execute(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT DO NOTHING
        """,
        f"{upload_id}-{number}",
        upload_id,
        number,
        format,
        path,
        size_bytes,
        total_parts,
        sha256,
    )


async def of_upload(tx: Tx, upload_id: str) -> list[Stream]:
    """All streams of a session, by number."""
    rows = await tx.fetch(f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 ORDER BY number", upload_id)
    return [Stream(**row) for row in rows]


async def get(tx: Tx, upload_id: str, number: int) -> Stream | None:
    """One stream of a session."""
    row = await tx.fetchrow(
        f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 AND number = $2", upload_id, number
    )
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


async def add_part(tx: Tx, stream_id: str, part: StoredPart) -> bool:
    """Record a part; False if one of this number is recorded already: of two racing requests, one wins."""
    added = await tx.fetchval(
        """
        INSERT INTO upload_part (stream_id, number, attempt, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING RETURNING number
        """,
        stream_id,
        part.number,
        part.attempt,
        part.size_bytes,
        part.sha256,
    )
    return added is not None


async def count_part(tx: Tx, stream_id: str, size_bytes: int, deadline_at: datetime) -> Stream:
    """Count a part that `add_part` recorded, and (re)start the stream's clock; locks the stream."""
    row = await tx.fetchrow(
        f"""
        UPDATE upload_stream
           SET parts_stored = parts_stored + 1, bytes_stored = bytes_stored + $2, deadline_at = $3
         WHERE id = $1 RETURNING {_STREAM}
        """,
        stream_id,
        size_bytes,
        deadline_at,
    )
    return Stream(**row)


async def lock(tx: Tx, stream_id: str) -> Stream:
    """A stream whose counts this transaction alone will change.

    NO KEY, since every transaction that has added a part holds a key share of the row: two of them would deadlock.
    """
    return Stream(
        **await tx.fetchrow(f"SELECT {_STREAM} FROM upload_stream WHERE id = $1 FOR NO KEY UPDATE", stream_id)
    )


async def progress(
    tx: Tx, stream_id: str, *, parts_done: int, members: int, bytes_out: int, deadline_at: datetime
) -> None:
    """How far the extractor is; reports may come late or twice, so the numbers only grow."""
    await tx.execute(
        """
        UPDATE upload_stream
           SET parts_done = greatest(parts_done, $2), members = greatest(members, $3),
               bytes_out = greatest(bytes_out, $4), deadline_at = $5
         WHERE id = $1 AND NOT unpacked
        """,
        stream_id,
        parts_done,
        members,
        bytes_out,
        deadline_at,
    )


async def finish(
    tx: Tx, stream_id: str, *, members: int, bytes_out: int, stripped_prefix: str | None, dropped: Sequence[str]
) -> Stream | None:
    """Mark a stream as unpacked; None if it was already, or is not known."""
    row = await tx.fetchrow(
        f"""
        UPDATE upload_stream
           SET unpacked = true, parts_done = total_parts, members = $2, bytes_out = $3, stripped_prefix = $4,
               dropped = $5, deadline_at = NULL
         WHERE id = $1 AND NOT unpacked RETURNING {_STREAM}
        """,
        stream_id,
        members,
        bytes_out,
        stripped_prefix,
        list(dropped),
    )
    return None if row is None else Stream(**row)


async def overdue(tx: Tx, now: datetime, next_deadline: datetime, limit: int = 20) -> list[PartStream]:
    """Streams whose parts should have been unpacked by now; each gets a new deadline."""
    rows = await tx.fetch(
        """
        UPDATE upload_stream s SET deadline_at = $2
          FROM upload u
         WHERE u.id = s.upload_id
           AND s.id IN (SELECT w.id FROM upload_stream w JOIN upload o ON o.id = w.upload_id
                         WHERE NOT w.unpacked AND w.deadline_at < $1 AND o.status IN ('open', 'processing')
                           AND (w.parts_done < w.parts_stored OR w.parts_stored = w.total_parts)
                         ORDER BY w.deadline_at LIMIT $3 FOR UPDATE OF w SKIP LOCKED)
        RETURNING s.id, s.upload_id, u.project_id, u.model_id, s.number, s.format, s.size_bytes, s.total_parts, s.path,
                  s.sha256
        """,
        now,
        next_deadline,
        limit,
    )
    return [msgspec.convert(dict(row), PartStream) for row in rows]


def as_event_parts(stored: Sequence[StoredPart]) -> list[Part]:
    """Stored parts as events carry them."""
    return [Part(number=part.number, attempt=part.attempt, size_bytes=part.size_bytes) for part in stored]
