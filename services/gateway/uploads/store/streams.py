"""Statements on `upload_stream`: sequences of parts that the extractor unpacks, joins or hashes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

import msgspec

from libs.contracts import ArchiveFormat, Format, PartStream
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
    key: str | None
    waiting_for: str | None

    @property
    def complete(self) -> bool:
        """Every part is in storage."""
        return self.parts_stored == self.total_parts

    @property
    def of_one_file(self) -> bool:
        """It is one file of a directory or of an import, not an archive of many."""
        return self.format not in get_args(ArchiveFormat)

    @property
    def pending(self) -> bool:
        """Every part is in storage, and the extractor is not done with them."""
        return self.complete and not self.unpacked


def stream_id(upload_id: str, number: int, refusals: int = 0) -> str:
    """The id of a stream: the extractor answers for each once, so what is sent again after a refusal is another."""
    return f"{upload_id}-{number}-{refusals}" if refusals else f"{upload_id}-{number}"


_STREAM = columns(Stream)


async def insert(
    tx: Tx,
    *,
    stream_id: str,
    upload_id: str,
    number: int,
    archive_format: Format,
    size_bytes: int,
    total_parts: int,
    sha256: str | None,
) -> None:
    """Announce the stream of an archive."""
    await tx.execute(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, size_bytes, total_parts, sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        stream_id,
        upload_id,
        number,
        archive_format,
        size_bytes,
        total_parts,
        sha256,
    )


async def insert_objects(tx: Tx, announced: Sequence[PartStream], due_at: datetime) -> None:
    """Announce files that are one object each already, to be read for their sha256, or to be copied first."""
    await tx.executemany(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, sha256, key,
                                   parts_stored, bytes_stored, deadline_at)
        VALUES ($1, $2, $3, $9, $4, $5, 1, $6, $7, 1, $5, $8)
        """,
        [
            (
                stream.id,
                stream.upload_id,
                stream.number,
                stream.path,
                stream.size_bytes,
                stream.sha256,
                stream.key,
                due_at,
                stream.format,
            )
            for stream in announced
        ],
    )


async def insert_remote(tx: Tx, upload_id: str, files: Sequence[tuple[str, int, str, str]], due_at: datetime) -> None:
    """Announce files in another store, (path, size, key, entity tag) each, to be copied; numbered in their order."""
    await tx.executemany(
        """
        INSERT INTO upload_stream (id, upload_id, number, format, path, size_bytes, total_parts, source_key,
                                   source_etag, parts_stored, bytes_stored, deadline_at)
        VALUES ($1, $2, $3, 'remote', $4, $5, 1, $6, $7, 1, $5, $8)
        """,
        [
            (stream_id(upload_id, number), upload_id, number, path, size_bytes, key, etag, due_at)
            for number, (path, size_bytes, key, etag) in enumerate(files)
        ],
    )


async def remove(tx: Tx, stream_id: str) -> None:
    """Forget a stream that is not unpacked, and whose parts have been removed."""
    await tx.execute("DELETE FROM upload_stream WHERE id = $1 AND NOT unpacked", stream_id)


async def of_upload(tx: Tx, upload_id: str) -> list[Stream]:
    """All streams of an upload, by number."""
    rows = await tx.fetch(f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 ORDER BY number", upload_id)
    return [Stream(**row) for row in rows]


async def any_pending(tx: Tx, upload_id: str) -> bool:
    """Whether a stream of an upload is complete, and the extractor is not done with it."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (SELECT FROM upload_stream
                            WHERE upload_id = $1 AND parts_stored = total_parts AND NOT unpacked)
            """,
            upload_id,
        )
    )


async def of_uploads(tx: Tx, upload_ids: Sequence[str]) -> dict[str, list[Stream]]:
    """All streams of some uploads, by upload, in the order of their numbers."""
    rows = await tx.fetch(
        f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = ANY ($1) ORDER BY number", list(upload_ids)
    )
    found: dict[str, list[Stream]] = {upload_id: [] for upload_id in upload_ids}
    for row in rows:
        found[row["upload_id"]].append(Stream(**row))
    return found


async def get(tx: Tx, upload_id: str, number: int) -> Stream | None:
    """One stream of an upload."""
    row = await tx.fetchrow(
        f"SELECT {_STREAM} FROM upload_stream WHERE upload_id = $1 AND number = $2", upload_id, number
    )
    return None if row is None else Stream(**row)


async def by_id(tx: Tx, stream_id: str) -> Stream | None:
    """One stream."""
    row = await tx.fetchrow(f"SELECT {_STREAM} FROM upload_stream WHERE id = $1", stream_id)
    return None if row is None else Stream(**row)


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


def as_event_stream(stream: Stream, project_id: str, model_id: str) -> PartStream:
    """A stream as events carry it; both ids are those of its upload."""
    return PartStream(
        id=stream.id,
        upload_id=stream.upload_id,
        project_id=project_id,
        model_id=model_id,
        number=stream.number,
        format=stream.format,
        size_bytes=stream.size_bytes,
        total_parts=stream.total_parts,
        path=stream.path,
        sha256=stream.sha256,
        key=stream.key,
    )
