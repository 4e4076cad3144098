"""What one request is about, in one round trip: an upload, the part or file that is named, and how that is sent."""

from __future__ import annotations

import msgspec

from libs.db import Tx
from libs.errors import UploadNotFound
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.parts import StoredPart
from services.gateway.uploads.store.rows import aliased, struct_from
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.transfers import Transfer, TransferPart
from services.gateway.uploads.store.uploads import Upload


class PartTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What one request about a part of an archive is about; None for what is not there."""

    upload: Upload
    stream: Stream | None
    part: StoredPart | None


async def part_target(tx: Tx, project_id: str, upload_id: str, number: int) -> PartTarget:
    """An upload, its first stream, and the part `number` of that. Raises: UploadNotFound."""
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
    return PartTarget(
        upload=Upload(**{name: row[f"u_{name}"] for name in Upload.__struct_fields__}),
        stream=struct_from(row, "s", Stream, key="id"),
        part=struct_from(row, "p", StoredPart, key="number"),
    )


class FileTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What one request about a file is about; None for what is not there."""

    upload: Upload
    file: UploadFile | None
    transfer: Transfer | None
    chunk: TransferPart | None  # the one that is asked for, where it is stored
    stream: Stream | None
    joined: StoredPart | None  # as `chunk`, of a stream


async def file_target(tx: Tx, project_id: str, upload_id: str, path: str, chunk: int | None) -> FileTarget:
    """An upload, one of its files by path, and how that is being sent. Raises: UploadNotFound."""
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
    return FileTarget(
        upload=Upload(**{name: row[f"u_{name}"] for name in Upload.__struct_fields__}),
        file=struct_from(row, "f", UploadFile, key="number"),
        transfer=struct_from(row, "t", Transfer, key="number"),
        chunk=struct_from(row, "p", TransferPart, key="number"),
        stream=struct_from(row, "s", Stream, key="id"),
        joined=struct_from(row, "j", StoredPart, key="number"),
    )
