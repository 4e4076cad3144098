"""What uploads do about each event: they follow the extractor."""

from __future__ import annotations

from libs.bus import DeadLetter, Handlers
from libs.contracts import (
    ArchiveExtracted,
    ArchiveParked,
    ArchiveProgressed,
    ArchiveRejected,
    Event,
    StreamProgress,
    UploadCompleted,
    UploadOpened,
    UploadPartStored,
)
from libs.contracts.rules import CHECKSUM_RULES
from libs.db import Tx
from libs.errors import ArchiveRejected as ArchiveRejectedError
from libs.errors import ChecksumMismatch, ImportFailed
from services.gateway.deadletters import undeliverable
from services.gateway.uploads import transitions
from services.gateway.uploads.deadlines import PARKED_PAUSE
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import deadlines, streams, uploads

handlers = Handlers("gateway")


@handlers.on(ArchiveProgressed, idempotent=True)
async def show_progress(event: ArchiveProgressed, tx: Tx) -> list[Event]:
    """Record how far an extractor of the previous release is; this release reports it without an event."""
    report = StreamProgress(
        upload_id=event.upload_id,
        stream_id=event.stream_id,
        parts_known=event.parts_done,
        parts_done=event.parts_done,
        members=event.members,
        bytes_out=event.bytes_out,
    )
    await deadlines.record_progress(tx, [report], due_at=event.at)
    return []


@handlers.on(ArchiveExtracted)
async def take_files(event: ArchiveExtracted, tx: Tx) -> list[Event]:
    """List what was unpacked; register the model if its client has completed the upload and this was the last.

    Emits: ModelRegistered, ModelValidationRequested; or UploadFailed, if files are missing without which no model is.
    Raises: UploadNotFound.
    """
    upload = await uploads.lock(tx, event.upload_id)
    if upload.status not in LIVE:
        return []
    return await transitions.unpack(tx, upload, event)


@handlers.on(ArchiveRejected)
async def refuse_content(event: ArchiveRejected, tx: Tx) -> list[Event]:
    """An archive is no model: the upload fails, and the next part gets the finding as its error.

    Of a directory, only the wrong file has to be sent again. Of an import, nobody can send it: the upload fails.
    Emits: UploadFailed; ObjectDropped.
    Raises: UploadNotFound.
    """
    upload = await uploads.lock(tx, event.upload_id)
    stream = await streams.by_id(tx, event.stream_id)
    if upload.status not in LIVE or stream is None or stream.unpacked:
        return []
    if upload.kind == "import":
        return await transitions.fail(tx, upload, event.finding, code=ImportFailed.code, at=event.at)
    if stream.of_one_file:
        return await transitions.refuse_file(tx, upload, stream, event.finding, at=event.at)
    code = ChecksumMismatch.code if event.finding.rule in CHECKSUM_RULES else ArchiveRejectedError.code
    return await transitions.fail(tx, upload, event.finding, code=code, at=event.at)


@handlers.on(ArchiveParked)
async def show_parked(event: ArchiveParked, tx: Tx) -> list[Event]:
    """Show why the extractor cannot go on now; it tries again by itself, and is asked only after a long silence.

    Raises: UploadNotFound.
    """
    upload = await uploads.lock(tx, event.upload_id)
    if upload.status in LIVE:
        await transitions.park(tx, upload, [event.stream_id], event.reason, due_at=event.retry_at + PARKED_PAUSE)
    return []


@handlers.on_dead(UploadOpened, UploadPartStored, UploadCompleted, ArchiveExtracted, ArchiveRejected)
async def park_undeliverable(
    letter: DeadLetter,
    event: UploadOpened | UploadPartStored | UploadCompleted | ArchiveExtracted | ArchiveRejected,
    tx: Tx,
) -> list[Event]:
    """Park the upload of an event that some service could not handle, and show why; nothing of it is lost.

    The sweeper asks again, with growing pauses, until it goes on or its last deadline passes.
    Raises: UploadNotFound.
    """
    upload_id = event.stream.upload_id if isinstance(event, UploadOpened) else event.upload_id
    upload = await uploads.lock(tx, upload_id)
    if upload.status in LIVE:
        reason = undeliverable(letter).sentence()
        await transitions.park(tx, upload, _streams_of(event), reason, due_at=letter.at)
    return []


def _streams_of(
    event: UploadOpened | UploadPartStored | UploadCompleted | ArchiveExtracted | ArchiveRejected,
) -> list[str]:
    if isinstance(event, UploadOpened):
        return [event.stream.id]
    return event.stream_ids if isinstance(event, UploadCompleted) else [event.stream_id]
