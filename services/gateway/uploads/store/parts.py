"""Statements on `upload_part`: the stored parts of streams."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import UploadNotFound
from services.gateway.uploads.states import ARCHIVES, OPEN, require_open
from services.gateway.uploads.store.expiry import Lifetime, extended
from services.gateway.uploads.store.rows import COUNTS, aliased, struct_from, struct_or_none
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.uploads import Upload


class StoredPart(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_part`."""

    number: int
    attempt: str
    size_bytes: int
    sha256: str


_PART = columns(StoredPart)
_STREAM = columns(Stream)


class PartTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What a request about a part of an archive is about."""

    upload: Upload
    archive: Stream
    part: StoredPart | None  # None: it is not stored


async def target(tx: Tx, project_id: str, upload_id: str, number: int) -> PartTarget:
    """Look up an open upload, its archive, and the part `number` of that, in one round trip.

    Raises: UploadNotFound; Conflict for an upload of a directory; the reason, if the upload is not open.
    """
    row = await tx.fetchrow(
        f"""
        SELECT {aliased("u", Upload)}, {aliased("s", Stream)}, {aliased("p", StoredPart)}
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
    upload = struct_from(row, "u", Upload)
    require_open(upload, kind=ARCHIVES)
    return PartTarget(
        upload=upload,
        archive=struct_from(row, "s", Stream),
        part=struct_or_none(row, "p", StoredPart, key="number"),
    )


async def get(tx: Tx, stream_id: str, number: int) -> StoredPart | None:
    """One stored part."""
    row = await tx.fetchrow(
        f"SELECT {_PART} FROM upload_part WHERE stream_id = $1 AND number = $2",
        stream_id,
        number,
    )
    return None if row is None else StoredPart(**row)


async def of_stream(tx: Tx, stream_id: str) -> list[StoredPart]:
    """All stored parts of a stream, by number."""
    rows = await tx.fetch(f"SELECT {_PART} FROM upload_part WHERE stream_id = $1 ORDER BY number", stream_id)
    return [StoredPart(**row) for row in rows]


async def remove(tx: Tx, stream_id: str) -> None:
    """Forget all stored parts of a stream."""
    await tx.execute("DELETE FROM upload_part WHERE stream_id = $1", stream_id)


async def numbers_by_stream(tx: Tx, upload_id: str) -> dict[str, list[int]]:
    """The stored part numbers of every stream of an upload, ascending."""
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
    """Whether a part was recorded; with it, its stream, and how many files of the upload have arrived, of how many."""

    recorded: bool
    stream: Stream | None  # None of a recorded part: the sizes cannot add up, and the caller rolls back
    arrived: int
    expected: int


async def begin(
    tx: Tx, stream: Stream, part: StoredPart, *, refusals: int, due_at: datetime, lifetime: Lifetime
) -> Added:
    """Announce a file's chunks with the first of them, in one statement.

    It is not recorded if the file is being sent in any way, or has been since it had so many `refusals`, or the upload
    is not open.
    """
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT id FROM upload WHERE id = $1 AND status = '{OPEN}' FOR KEY SHARE
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
        SELECT EXISTS (SELECT FROM begun) AS added, {aliased("b", Stream)}, {COUNTS}
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
        due_at,
        lifetime.ttl,
        lifetime.longest,
    )
    return _added(row, "b")


async def add(
    tx: Tx, upload_id: str, stream_id: str, part: StoredPart, *, due_at: datetime, lifetime: Lifetime
) -> Added:
    """Record a part and count it, in one statement.

    It is not recorded if one of its number is (of two racing requests, one wins), or the stream is gone, or the upload
    is not open. The earliest deadline stays: a part that arrives does not excuse the silence about those before it.
    """
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT u.id FROM upload u JOIN upload_stream s ON s.upload_id = u.id
             WHERE u.id = $1 AND u.status = '{OPEN}' AND s.id = $2 FOR KEY SHARE OF u
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
        SELECT EXISTS (SELECT FROM added) AS added, {aliased("c", Stream)}, {COUNTS}
          FROM (VALUES (1)) AS one LEFT JOIN counted c ON true
        """,
        upload_id,
        stream_id,
        part.number,
        part.attempt,
        part.size_bytes,
        part.sha256,
        due_at,
        lifetime.ttl,
        lifetime.longest,
    )
    return _added(row, "c")


def _added(row: Mapping[str, Any], alias: str) -> Added:
    stream = struct_or_none(row, alias, Stream, key="id")
    last = stream is not None and stream.complete
    return Added(recorded=row["added"], stream=stream, arrived=row["arrived"] + last, expected=row["expected"])
