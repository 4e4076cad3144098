"""The parts that an attempt reads, and the files that it has stored."""

from __future__ import annotations

from collections.abc import Sequence

from libs.archives.tar import TarCheckpoint
from libs.contracts import Part, StoredFile
from libs.db import Tx, columns
from services.extractor.store.leases import LEASES, Claim


async def parts_from(tx: Tx, stream_id: str, first: int) -> list[Part]:
    """The recorded parts from number `first` on, without a gap."""
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


async def stored_files(tx: Tx, stream_id: str) -> list[StoredFile]:
    """The files that earlier attempts have stored, in the archive's order."""
    rows = await tx.fetch(
        f"SELECT {columns(StoredFile)} FROM extraction_file WHERE stream_id = $1 ORDER BY number",
        stream_id,
    )
    return [StoredFile(**row) for row in rows]


async def add_files(
    tx: Tx, claim: Claim, first: int, files: Sequence[StoredFile], checkpoint: TarCheckpoint | None
) -> bool:
    """Record stored files, numbered from `first` on, and where another attempt can go on. May be repeated.

    Returns False if the lease was lost.
    """
    held = await tx.fetchval(
        f"""
        WITH held AS (
            UPDATE extraction SET attempts = 1, checkpoint = $4
             WHERE {LEASES.held}
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
        claim.key,
        claim.fence,
        first,
        checkpoint,
        [file.path for file in files],
        [file.size_bytes for file in files],
        [file.sha256 for file in files],
        [file.key for file in files],
    )
    return held is not None


async def delete_of(tx: Tx, stream_id: str) -> None:
    """Delete the rows of parts and files of an extraction that has ended: nothing reads them again."""
    await tx.execute(
        """
        WITH files AS (DELETE FROM extraction_file WHERE stream_id = $1)
        DELETE FROM extraction_part WHERE stream_id = $1
        """,
        stream_id,
    )
