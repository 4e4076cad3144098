"""Statements on `upload_transfer` and its parts: files on their way into one object each.

Every change on behalf of a request names the transfer's key and the fence that the request holds: where a newer request
has taken over, nothing changes, and the function says so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from libs.db import Tx, columns
from services.gateway.uploads.states import OPEN
from services.gateway.uploads.store.expiry import Lifetime, extended


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_transfer`."""

    upload_id: str
    number: int
    key: str
    multipart_id: str | None
    part_count: int | None
    part_bytes: int
    parts_stored: int
    held_bytes: int
    held_by: int
    next_part: int
    fence: int
    tail_key: str | None
    tail_bytes: int
    sha256: str | None


class TransferPart(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_transfer_part`."""

    number: int
    s3_number: int
    etag: str
    size_bytes: int
    sha256: str | None = None


_TRANSFER = columns(Transfer)
_PART = columns(TransferPart)
_HELD = "upload_id = $1 AND number = $2 AND key = $3 AND fence = $4"  # the first arguments of `_hold`


def _hold(transfer: Transfer) -> tuple[str, int, str, int]:
    return transfer.upload_id, transfer.number, transfer.key, transfer.fence


async def get(tx: Tx, upload_id: str, number: int) -> Transfer | None:
    """The transfer of one file."""
    row = await tx.fetchrow(
        f"SELECT {_TRANSFER} FROM upload_transfer WHERE upload_id = $1 AND number = $2", upload_id, number
    )
    return None if row is None else Transfer(**row)


async def of_upload(tx: Tx, upload_id: str) -> list[Transfer]:
    """All transfers of an upload."""
    rows = await tx.fetch(f"SELECT {_TRANSFER} FROM upload_transfer WHERE upload_id = $1", upload_id)
    return [Transfer(**row) for row in rows]


async def parts(tx: Tx, transfer: Transfer) -> list[TransferPart]:
    """The stored parts of one file, in its order."""
    rows = await tx.fetch(
        f"SELECT {_PART} FROM upload_transfer_part WHERE upload_id = $1 AND file_number = $2 ORDER BY number",
        transfer.upload_id,
        transfer.number,
    )
    return [TransferPart(**row) for row in rows]


async def begin(
    tx: Tx, upload_id: str, number: int, *, key: str, part_bytes: int, sha256: str | None
) -> Transfer | None:
    """The transfer of a file of which nothing is held, to be written by its caller alone; None if something is."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO upload_transfer AS t (upload_id, number, key, part_bytes, sha256, writing)
        VALUES ($1, $2, $3, $4, $5, true)
        ON CONFLICT (upload_id, number) DO UPDATE
           SET fence = t.fence + 1, next_part = t.next_part + t.writing::integer, writing = true,
               sha256 = coalesce($5, t.sha256)
         WHERE t.held_bytes = 0 AND t.part_count IS NULL
        RETURNING {_TRANSFER}
        """,
        upload_id,
        number,
        key,
        part_bytes,
        sha256,
    )
    return None if row is None else Transfer(**row)


async def take_over(tx: Tx, transfer: Transfer, sha256: str | None) -> Transfer | None:
    """The same with the next fence; None if it has gone on, or has ended.

    The number of a part that an older request may still be sending is not used again: whatever that request does, it
    does to a part that is not used.
    """
    row = await tx.fetchrow(
        f"""
        UPDATE upload_transfer
           SET fence = fence + 1, next_part = next_part + writing::integer, writing = true,
               sha256 = coalesce($5, sha256)
         WHERE upload_id = $1 AND number = $2 AND key = $3 AND held_bytes = $4
        RETURNING {_TRANSFER}
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        transfer.held_bytes,
        sha256,
    )
    return None if row is None else Transfer(**row)


async def set_multipart(tx: Tx, transfer: Transfer, multipart_id: str) -> bool:
    """Record S3's id of the multipart upload; False if a newer request has taken over."""
    found = await tx.fetchval(
        f"UPDATE upload_transfer SET multipart_id = $5 WHERE {_HELD} RETURNING number", *_hold(transfer), multipart_id
    )
    return found is not None


async def add_part(
    tx: Tx, transfer: Transfer, part: TransferPart, held_bytes: int, lifetime: Lifetime, *, more: bool
) -> bool:
    """Record the next part of a stream, which takes the tail up; `more` follow from the same request.

    False if a newer request has taken over, or the upload is not open: then the part does not count.
    """
    return bool(
        await tx.fetchval(
            f"""
            WITH moved AS (
                UPDATE upload_transfer
                   SET held_bytes = $5, held_by = fence, parts_stored = parts_stored + 1, next_part = $6 + 1,
                       tail_key = NULL, tail_bytes = 0, writing = $9
                 WHERE {_HELD} AND EXISTS (SELECT FROM upload WHERE id = $1 AND status = '{OPEN}')
                RETURNING number
            ), added AS (
                INSERT INTO upload_transfer_part (upload_id, file_number, number, s3_number, etag, size_bytes)
                SELECT $1, $2, $10, $6, $7, $8 FROM moved
            ), {extended("moved", ttl="$11", longest="$12")}
            SELECT EXISTS (SELECT FROM moved)
            """,
            *_hold(transfer),
            held_bytes,
            part.s3_number,
            part.etag,
            part.size_bytes,
            more,
            part.number,
            lifetime.ttl,
            lifetime.longest,
        )
    )


async def set_tail(
    tx: Tx, transfer: Transfer, *, key: str, size_bytes: int, held_bytes: int, lifetime: Lifetime
) -> bool:
    """Record what was held back for the next part; False as `add_part`."""
    return bool(
        await tx.fetchval(
            f"""
            WITH moved AS (
                UPDATE upload_transfer
                   SET held_bytes = $5, tail_key = $6, tail_bytes = $7, writing = false
                 WHERE {_HELD} AND EXISTS (SELECT FROM upload WHERE id = $1 AND status = '{OPEN}')
                RETURNING number
            ), {extended("moved", ttl="$8", longest="$9")}
            SELECT EXISTS (SELECT FROM moved)
            """,
            *_hold(transfer),
            held_bytes,
            key,
            size_bytes,
            lifetime.ttl,
            lifetime.longest,
        )
    )


async def begin_joining(tx: Tx, transfer: Transfer, held_s: float) -> datetime | Literal["taken", "ended"]:
    """Reserve the joining of the parts for one request. Returns until when, which identifies the reservation.

    Returns "taken" if another request has reserved it, "ended" if the transfer has ended.
    """
    row = await tx.fetchrow(
        """
        WITH begun AS (
            UPDATE upload_transfer SET completing_until = now() + make_interval(secs => $4)
             WHERE upload_id = $1 AND number = $2 AND key = $3
               AND (completing_until IS NULL OR completing_until < now())
            RETURNING completing_until)
        SELECT (SELECT completing_until FROM begun) AS until,
               EXISTS (SELECT FROM upload_transfer WHERE upload_id = $1 AND number = $2 AND key = $3) AS there
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        held_s,
    )
    until: datetime | None = row["until"]
    return until or ("taken" if row["there"] else "ended")


async def end_joining(tx: Tx, transfer: Transfer, until: datetime) -> None:
    """End the reservation, so that others may join again: they find the object. Nothing if another one has it now."""
    await tx.execute(
        """
        UPDATE upload_transfer SET completing_until = NULL
         WHERE upload_id = $1 AND number = $2 AND key = $3 AND completing_until = $4
        """,
        transfer.upload_id,
        transfer.number,
        transfer.key,
        until,
    )


async def end(tx: Tx, transfer: Transfer) -> bool:
    """The file is whole, or starts again: forget how it was sent; False if a newer request has taken over."""
    found = await tx.fetchval(f"DELETE FROM upload_transfer WHERE {_HELD} RETURNING number", *_hold(transfer))
    return found is not None


async def discard(tx: Tx, transfer: Transfer) -> bool:
    """Delete a transfer, whichever request has its fence; False if it is gone, or another one."""
    found = await tx.fetchval(
        "DELETE FROM upload_transfer WHERE upload_id = $1 AND number = $2 AND key = $3 RETURNING number",
        transfer.upload_id,
        transfer.number,
        transfer.key,
    )
    return found is not None
