"""Statements on `upload_file`: the files of a session."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.contracts import StoredFile
from libs.db import Tx, columns


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


_FILE = columns(UploadFile)


async def insert_manifest(tx: Tx, upload_id: str, files: Sequence[tuple[str, int, str | None]]) -> None:
    """Announce files: (path, size in bytes, declared sha256), numbered in their order."""
    await tx.executemany(
        "INSERT INTO upload_file (upload_id, number, path, size_bytes, declared_sha256) VALUES ($1, $2, $3, $4, $5)",
        [(upload_id, number, path, size, sha256) for number, (path, size, sha256) in enumerate(files)],
    )


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


async def unmark_vanished(tx: Tx, upload_id: str, project_id: str) -> list[str]:
    """Files marked present whose content has been released or lost since must be sent after all: their paths."""
    rows = await tx.fetch(
        """
        UPDATE upload_file f SET present = false, sha256 = NULL, key = NULL
         WHERE f.upload_id = $1 AND f.present
           AND NOT EXISTS (SELECT FROM blob b WHERE b.project_id = $2 AND b.sha256 = f.sha256
                              AND b.missing_since IS NULL FOR SHARE)
        RETURNING f.path
        """,
        upload_id,
        project_id,
    )
    return [row["path"] for row in rows]


async def of_upload(tx: Tx, upload_id: str) -> list[UploadFile]:
    """All files of a session, in the order of the manifest."""
    rows = await tx.fetch(f"SELECT {_FILE} FROM upload_file WHERE upload_id = $1 ORDER BY number", upload_id)
    return [UploadFile(**row) for row in rows]


async def get(tx: Tx, upload_id: str, path: str) -> UploadFile | None:
    """One file of a session by its path."""
    row = await tx.fetchrow(f"SELECT {_FILE} FROM upload_file WHERE upload_id = $1 AND path = $2", upload_id, path)
    return None if row is None else UploadFile(**row)


async def receive(tx: Tx, upload_id: str, number: int, *, sha256: str, key: str) -> bool:
    """Record the bytes of a file; False if they are recorded already: of two racing requests, one wins."""
    received = await tx.fetchval(
        """
        UPDATE upload_file SET sha256 = $3, key = $4
         WHERE upload_id = $1 AND number = $2 AND key IS NULL RETURNING path
        """,
        upload_id,
        number,
        sha256,
        key,
    )
    return received is not None


async def insert_unpacked(tx: Tx, upload_id: str, files: Sequence[StoredFile]) -> None:
    """Record the members of an archive."""
    await tx.executemany(
        """
        INSERT INTO upload_file (upload_id, number, path, size_bytes, sha256, key) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
        """,
        [(upload_id, n, file.path, file.size_bytes, file.sha256, file.key) for n, file in enumerate(files)],
    )


async def counts(tx: Tx, upload_id: str) -> tuple[int, int]:
    """(files that have arrived or need not be sent, files expected); a file in chunks counts with its last chunk."""
    row = await tx.fetchrow(
        """
        SELECT count(*) FILTER (WHERE f.key IS NOT NULL OR s.parts_stored = s.total_parts) AS arrived,
               count(*) AS expected
          FROM upload_file f LEFT JOIN upload_stream s ON s.upload_id = f.upload_id AND s.number = f.number
         WHERE f.upload_id = $1
        """,
        upload_id,
    )
    return row["arrived"], row["expected"]
