"""A file whose bytes are all one object: recorded with its sha256, or handed to the extractor to be read for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from libs.contracts import Part, PartStream, UploadOpened
from libs.db import connection, transaction
from libs.outbox import emit
from services.gateway.dependencies import Dependencies
from services.gateway.uploads.lifetimes import lifetime
from services.gateway.uploads.store import files, sessions, streams, transfers
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.sessions import Upload
from services.gateway.uploads.store.streams import stream_id
from services.gateway.uploads.store.transfers import Transfer


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A file that has arrived."""

    sha256: str | None  # None: the extractor reads it for that
    arrived: int  # files of the session
    expected: int


async def record(
    dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer, sha256: str | None
) -> Whole | None:
    """Record the object that `transfer` has become; None if a newer request has taken the file over.

    Emits: UploadOpened, where its sha256 is not known. Raises: the reason, if the session has ended.
    """
    if sha256 is None:
        return await _hand_over(dependencies, upload, file, transfer)
    async with connection(dependencies.pool) as tx:
        receipt = await files.finish(tx, transfer, sha256, lifetime(dependencies.config))
    return Whole(sha256=sha256, arrived=receipt.arrived, expected=receipt.expected) if receipt.won else None


async def _hand_over(dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer) -> Whole | None:
    now = datetime.now(UTC)
    stream = PartStream(
        id=stream_id(upload.id, file.number, file.refusals),
        upload_id=upload.id,
        project_id=upload.project_id,
        model_id=upload.model_id,
        number=file.number,
        format="object",
        size_bytes=file.size_bytes,
        total_parts=1,
        path=file.path,
        sha256=transfer.sha256 or file.declared_sha256,
        key=transfer.key,
    )
    async with transaction(dependencies.pool) as tx:
        await sessions.hold_open(tx, upload.id)
        if not await transfers.end(tx, transfer):
            return None
        await streams.insert_object(tx, stream, deadline_at=now + timedelta(seconds=dependencies.config.stale_after_s))
        arrived, expected = (await files.counts(tx, [upload.id]))[upload.id]
        part = Part(number=0, attempt="", size_bytes=file.size_bytes)
        await emit(tx, [UploadOpened(stream=stream, parts=[part], at=now)])
    return Whole(sha256=None, arrived=arrived, expected=expected)
