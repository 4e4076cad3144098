"""Statements on `upload_file`: the files of an upload."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.contracts import StoredFile
from libs.db import Tx, columns
from libs.errors import NotFound, UploadNotFound
from services.gateway.uploads.states import DIRECTORIES, OPEN, require_open
from services.gateway.uploads.store.expiry import Lifetime, extended
from services.gateway.uploads.store.parts import StoredPart
from services.gateway.uploads.store.rows import COUNTS, aliased, struct_from, struct_or_none
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.transfers import Transfer, TransferPart
from services.gateway.uploads.store.uploads import Upload


class UploadFile(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_file`."""

    upload_id: str
    number: int
    path: str
    size_bytes: int
    declared_sha256: str | None
    sha256: str | None
    key: str | None
    present: bool
    refused: str | None
    refusals: int


_FILE = columns(UploadFile)


async def insert_manifest(tx: Tx, upload_id: str, files: Sequence[tuple[str, int, str | None]]) -> None:
    """Announce files: (path, size in bytes, declared sha256), numbered in their order."""
    await tx.executemany(
        "INSERT INTO upload_file (upload_id, number, path, size_bytes, declared_sha256) VALUES ($1, $2, $3, $4, $5)",
        [(upload_id, number, path, size, sha256) for number, (path, size, sha256) in enumerate(files)],
    )


async def announce(tx: Tx, upload_id: str, files: Sequence[tuple[str, int]]) -> list[UploadFile]:
    """Announce further files, (path, size in bytes), or other sizes of files that have not arrived.

    Returns those that were announced with another size, as they were before; of those that have arrived nothing is
    changed. The caller has locked the upload.
    """
    known = {file.path: file for file in await of_upload(tx, upload_id)}
    next_number = max((file.number for file in known.values()), default=-1) + 1
    new = [(path, size) for path, size in files if path not in known]
    await tx.executemany(
        "INSERT INTO upload_file (upload_id, number, path, size_bytes) VALUES ($1, $2, $3, $4)",
        [(upload_id, number, path, size) for number, (path, size) in enumerate(new, start=next_number)],
    )
    others = [(path, size) for path, size in files if path in known and known[path].size_bytes != size]
    await tx.executemany(
        "UPDATE upload_file SET size_bytes = $3, refused = NULL WHERE upload_id = $1 AND path = $2 AND key IS NULL",
        [(upload_id, path, size) for path, size in others],
    )
    return [known[path] for path, _ in others]


async def stored_before(tx: Tx, project_id: str, files: Sequence[tuple[str, int]]) -> int:
    """How many bytes of these files (declared SHA-256 and size) the project already stores."""
    present: int = await tx.fetchval(
        """
        SELECT coalesce(sum(b.size_bytes), 0)::bigint
          FROM unnest($2::text[], $3::bigint[]) AS f (sha256, size_bytes)
          JOIN blob b ON b.project_id = $1 AND b.sha256 = f.sha256 AND b.size_bytes = f.size_bytes
         WHERE b.missing_since IS NULL
        """,
        project_id,
        [sha256 for sha256, _ in files],
        [size_bytes for _, size_bytes in files],
    )
    return present


async def mark_present(tx: Tx, upload_id: str, project_id: str) -> None:
    """Files whose declared sha256 and size the project already stores need not be sent."""
    await tx.execute(
        """
        UPDATE upload_file f SET present = true, sha256 = b.sha256, key = b.key
          FROM blob b
         WHERE f.upload_id = $1 AND f.key IS NULL AND b.project_id = $2 AND b.missing_since IS NULL
           AND b.sha256 = f.declared_sha256 AND b.size_bytes = f.size_bytes
        """,
        upload_id,
        project_id,
    )


async def unmark_vanished(tx: Tx, upload_id: str, project_id: str, reason: str) -> list[str]:
    """Files marked present whose content has been deleted or lost since have to be sent after all, for `reason`.

    Returns their paths.
    """
    rows = await tx.fetch(
        """
        UPDATE upload_file f SET present = false, sha256 = NULL, key = NULL, refused = $3
         WHERE f.upload_id = $1 AND f.present
           AND NOT EXISTS (SELECT FROM blob b WHERE b.project_id = $2 AND b.sha256 = f.sha256
                              AND b.missing_since IS NULL FOR SHARE)
        RETURNING f.path
        """,
        upload_id,
        project_id,
        reason,
    )
    return [row["path"] for row in rows]


async def of_upload(tx: Tx, upload_id: str) -> list[UploadFile]:
    """All files of an upload, in the order of the manifest."""
    rows = await tx.fetch(f"SELECT {_FILE} FROM upload_file WHERE upload_id = $1 ORDER BY number", upload_id)
    return [UploadFile(**row) for row in rows]


async def by_path(tx: Tx, upload_id: str, path: str) -> UploadFile | None:
    """One file of an upload by its path."""
    row = await tx.fetchrow(f"SELECT {_FILE} FROM upload_file WHERE upload_id = $1 AND path = $2", upload_id, path)
    return None if row is None else UploadFile(**row)


async def by_number(tx: Tx, upload_id: str, number: int) -> UploadFile | None:
    """One file of an upload by its place in the manifest."""
    row = await tx.fetchrow(f"SELECT {_FILE} FROM upload_file WHERE upload_id = $1 AND number = $2", upload_id, number)
    return None if row is None else UploadFile(**row)


async def known_sizes(tx: Tx, project_id: str, sizes: Sequence[int]) -> set[int]:
    """Those of `sizes` (bytes) that some object of the project has."""
    rows = await tx.fetch(
        """
        SELECT size_bytes FROM unnest($2::bigint[]) AS asked (size_bytes)
         WHERE EXISTS (SELECT FROM blob b
                        WHERE b.project_id = $1 AND b.size_bytes = asked.size_bytes AND b.missing_since IS NULL)
        """,
        project_id,
        list(sizes),
    )
    return {row["size_bytes"] for row in rows}


async def lock(tx: Tx, upload_id: str, number: int) -> None:
    """Let one transaction at a time decide how a file is sent."""
    await tx.execute(
        "SELECT FROM upload_file WHERE upload_id = $1 AND number = $2 FOR NO KEY UPDATE", upload_id, number
    )


class FileTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What a request about a file is about, and how that is being sent; None for what is not there."""

    upload: Upload
    file: UploadFile
    transfer: Transfer | None
    chunk: TransferPart | None  # the one that is asked for, where it is stored
    stream: Stream | None
    joined: StoredPart | None  # as `chunk`, of a stream


async def target(tx: Tx, project_id: str, upload_id: str, path: str, chunk: int | None) -> FileTarget:
    """Look up an open upload, one of its files by path, and how that is being sent, in one round trip.

    chunk: the number of the chunk or part that the request is about, if it is about one.
    Raises: UploadNotFound; Conflict for an upload of an archive; the reason, if the upload is not open; NotFound for a
    path that is not in the manifest.
    """
    row = await tx.fetchrow(
        f"""
        SELECT {aliased("u", Upload)}, {aliased("f", UploadFile)}, {aliased("t", Transfer)},
               {aliased("p", TransferPart)}, {aliased("s", Stream)}, {aliased("j", StoredPart)}
          FROM upload u
          LEFT JOIN upload_file f ON f.upload_id = u.id AND f.path = $3
          LEFT JOIN upload_transfer t ON t.upload_id = u.id AND t.number = f.number
          LEFT JOIN upload_transfer_part p
                 ON p.upload_id = u.id AND p.file_number = f.number AND p.number = $4 AND t.part_count IS NOT NULL
          LEFT JOIN upload_stream s ON s.upload_id = u.id AND s.number = f.number
          LEFT JOIN upload_part j ON j.stream_id = s.id AND j.number = $4
         WHERE u.id = $1 AND u.project_id = $2
        """,
        upload_id,
        project_id,
        path,
        chunk,
    )
    if row is None:
        raise UploadNotFound()
    upload, file = struct_from(row, "u", Upload), struct_or_none(row, "f", UploadFile, key="number")
    require_open(upload, kind=DIRECTORIES)
    if file is None:
        raise NotFound(f"{path!r} is not in the manifest that this upload was opened with.")
    return FileTarget(
        upload=upload,
        file=file,
        transfer=struct_or_none(row, "t", Transfer, key="number"),
        chunk=struct_or_none(row, "p", TransferPart, key="number"),
        stream=struct_or_none(row, "s", Stream, key="id"),
        joined=struct_or_none(row, "j", StoredPart, key="number"),
    )


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the bytes of a file were recorded, and how many files of the upload have arrived with it, of how many."""

    recorded: bool
    arrived: int
    expected: int


async def record_object(tx: Tx, file: UploadFile, *, sha256: str, key: str, lifetime: Lifetime) -> Receipt:
    """Record the object of a file, unless it has one, or is being sent otherwise, or the upload is not open.

    Nor if its size was announced anew since `file` was looked up.
    """
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT id FROM upload WHERE id = $1 AND status = '{OPEN}' FOR KEY SHARE
        ), received AS (
            UPDATE upload_file SET sha256 = $3, key = $4, refused = NULL
             WHERE upload_id = $1 AND number = $2 AND key IS NULL AND EXISTS (SELECT FROM held)
               AND size_bytes = $7
               AND NOT EXISTS (SELECT FROM upload_stream WHERE upload_id = $1 AND number = $2)
               AND NOT EXISTS (SELECT FROM upload_transfer WHERE upload_id = $1 AND number = $2)
            RETURNING number
        ), {extended("received", ttl="$5", longest="$6")}
        SELECT EXISTS (SELECT FROM received) AS recorded, {COUNTS}
        """,
        file.upload_id,
        file.number,
        sha256,
        key,
        lifetime.ttl,
        lifetime.longest,
        file.size_bytes,
    )
    return Receipt(recorded=row["recorded"], arrived=row["arrived"] + row["recorded"], expected=row["expected"])


async def record_transfer(tx: Tx, transfer: Transfer, sha256: str, lifetime: Lifetime) -> Receipt:
    """Record the object that a transfer has become, unless a newer request has its fence, or the upload is not open."""
    row = await tx.fetchrow(
        f"""
        WITH held AS (
            SELECT id FROM upload WHERE id = $1 AND status = '{OPEN}' FOR KEY SHARE
        ), ended AS (
            DELETE FROM upload_transfer
             WHERE upload_id = $1 AND number = $2 AND key = $3 AND fence = $4 AND EXISTS (SELECT FROM held)
            RETURNING number
        ), received AS (
            UPDATE upload_file SET sha256 = $5, key = $3, refused = NULL
             WHERE upload_id = $1 AND number = $2 AND key IS NULL AND EXISTS (SELECT FROM ended)
            RETURNING number
        ), {extended("received", ttl="$6", longest="$7")}
        SELECT EXISTS (SELECT FROM received) AS recorded, {COUNTS}
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        transfer.fence,
        sha256,
        lifetime.ttl,
        lifetime.longest,
    )
    return Receipt(recorded=row["recorded"], arrived=row["arrived"] + row["recorded"], expected=row["expected"])


async def record_unpacked(tx: Tx, upload_id: str, number: int, *, sha256: str, key: str) -> None:
    """Record the SHA-256 and the object that the extractor reports of a file."""
    await tx.execute(
        """
        UPDATE upload_file SET sha256 = $3, key = $4, refused = NULL
         WHERE upload_id = $1 AND number = $2 AND key IS NULL
        """,
        upload_id,
        number,
        sha256,
        key,
    )


async def refuse(tx: Tx, upload_id: str, number: int, reason: str) -> None:
    """The bytes that were sent for a file do not count, for `reason`: it is missing again."""
    await tx.execute(
        """
        UPDATE upload_file SET sha256 = NULL, key = NULL, present = false, refused = $3, refusals = refusals + 1
         WHERE upload_id = $1 AND number = $2
        """,
        upload_id,
        number,
        reason,
    )


async def insert_unpacked(tx: Tx, upload_id: str, files: Sequence[StoredFile]) -> None:
    """Record the members of an archive."""
    await tx.executemany(
        """
        INSERT INTO upload_file (upload_id, number, path, size_bytes, sha256, key) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
        """,
        [(upload_id, n, file.path, file.size_bytes, file.sha256, file.key) for n, file in enumerate(files)],
    )


async def counts(tx: Tx, upload_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """By upload: (files that have arrived or need not be sent, files expected).

    A file in parts counts with the last one.
    """
    rows = await tx.fetch(
        """
        SELECT f.upload_id, count(*) AS expected, count(*) FILTER (
                   WHERE f.key IS NOT NULL OR (s.parts_stored = s.total_parts AND s.format <> 'remote')) AS arrived
          FROM upload_file f LEFT JOIN upload_stream s ON s.upload_id = f.upload_id AND s.number = f.number
         WHERE f.upload_id = ANY ($1) GROUP BY f.upload_id
        """,
        list(upload_ids),
    )
    return {row["upload_id"]: (row["arrived"], row["expected"]) for row in rows}
