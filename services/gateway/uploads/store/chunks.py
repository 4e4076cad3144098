"""Statements on `upload_transfer` and its parts where they are a file's chunks, in any order."""

from __future__ import annotations

import msgspec

from libs.db import Tx, columns
from services.gateway.uploads.states import OPEN
from services.gateway.uploads.store.expiry import Lifetime, extended
from services.gateway.uploads.store.rows import COUNTS, aliased, struct_or_none
from services.gateway.uploads.store.transfers import Transfer, TransferPart

_TRANSFER = columns(Transfer)
_PART = columns(TransferPart)


async def numbers_by_file(tx: Tx, upload_id: str) -> dict[int, list[int]]:
    """The stored chunk numbers of every file of an upload that is sent in chunks, ascending."""
    rows = await tx.fetch(
        """
        SELECT p.file_number, array_agg(p.number ORDER BY p.number) AS numbers
          FROM upload_transfer_part p JOIN upload_transfer t ON t.upload_id = p.upload_id AND t.number = p.file_number
         WHERE p.upload_id = $1 AND t.part_count IS NOT NULL GROUP BY p.file_number
        """,
        upload_id,
    )
    return {row["file_number"]: row["numbers"] for row in rows}


async def begin(
    tx: Tx,
    upload_id: str,
    number: int,
    *,
    key: str,
    multipart_id: str,
    part_count: int,
    part_bytes: int,
    sha256: str | None,
) -> bool:
    """Insert the transfer of a file in chunks; False if it has one already: of two first chunks, one wins.

    It counts as a refusal of the file, so that no request that has looked the file up before can begin a stream of it.
    """
    found = await tx.fetchval(
        """
        WITH begun AS (
            INSERT INTO upload_transfer (upload_id, number, key, multipart_id, part_count, part_bytes, sha256)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING number
        ), marked AS (
            UPDATE upload_file SET refusals = refusals + 1
             WHERE upload_id = $1 AND number = $2 AND EXISTS (SELECT FROM begun)
        )
        SELECT number FROM begun
        """,
        upload_id,
        number,
        key,
        multipart_id,
        part_count,
        part_bytes,
        sha256,
    )
    return found is not None


async def get(tx: Tx, transfer: Transfer, number: int) -> TransferPart | None:
    """One stored chunk."""
    row = await tx.fetchrow(
        f"SELECT {_PART} FROM upload_transfer_part WHERE upload_id = $1 AND file_number = $2 AND number = $3",
        transfer.upload_id,
        transfer.number,
        number,
    )
    return None if row is None else TransferPart(**row)


async def next_attempt(tx: Tx, transfer: Transfer, number: int) -> int | None:
    """Count an attempt at the chunk `number`. Returns its number, from 1; None if the transfer has ended."""
    attempt: int | None = await tx.fetchval(
        """
        INSERT INTO upload_transfer_attempt AS a (upload_id, file_number, number)
        SELECT upload_id, number, $4 FROM upload_transfer WHERE upload_id = $1 AND number = $2 AND key = $3
        ON CONFLICT (upload_id, file_number, number) DO UPDATE SET attempts = a.attempts + 1
        RETURNING attempts
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        number,
    )
    return attempt


class AddedChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a chunk was recorded; with it, its transfer, and how many files of the upload have arrived."""

    recorded: bool
    transfer: Transfer | None  # None of a recorded chunk: the sizes cannot add up, and the caller rolls back
    arrived: int
    expected: int


async def add(tx: Tx, transfer: Transfer, part: TransferPart, size_bytes: int, lifetime: Lifetime) -> AddedChunk:
    """Record a chunk of a file of `size_bytes`, unless one of its number is recorded, or the upload is not open."""
    row = await tx.fetchrow(
        f"""
        WITH added AS (
            INSERT INTO upload_transfer_part (upload_id, file_number, number, s3_number, etag, size_bytes, sha256)
            SELECT t.upload_id, t.number, $4, $7, $8, $5, $9
              FROM upload_transfer t JOIN upload u ON u.id = t.upload_id
             WHERE t.upload_id = $1 AND t.number = $2 AND t.key = $3 AND u.status = '{OPEN}'
            ON CONFLICT DO NOTHING RETURNING number
        ), moved AS (
            UPDATE upload_transfer SET held_bytes = held_bytes + $5, parts_stored = parts_stored + 1
             WHERE upload_id = $1 AND number = $2 AND key = $3 AND EXISTS (SELECT FROM added)
               AND held_bytes + $5 <= $6 AND (parts_stored + 1 < part_count OR held_bytes + $5 = $6)
            RETURNING {_TRANSFER}
        ), {extended("moved", ttl="$10", longest="$11")}
        SELECT EXISTS (SELECT FROM added) AS added, {aliased("m", Transfer)}, {COUNTS}
          FROM (VALUES (1)) AS one LEFT JOIN moved m ON true
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        part.number,
        part.size_bytes,
        size_bytes,
        part.s3_number,
        part.etag,
        part.sha256,
        lifetime.ttl,
        lifetime.longest,
    )
    return AddedChunk(
        recorded=row["added"],
        transfer=struct_or_none(row, "m", Transfer, key="number"),
        arrived=row["arrived"],
        expected=row["expected"],
    )
