"""What uploads do about each event: sessions follow the extractor."""

from __future__ import annotations

from datetime import timedelta

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
from libs.errors import ChecksumMismatch
from services.gateway.deadletters import undeliverable
from services.gateway.uploads import session
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import deadlines, files, sessions, streams

# How long others have before they are asked again, from the event that starts the wait. No setting, since a handler
# reads none; from the second time on the sweepers ask with growing pauses.
PATIENCE = timedelta(seconds=30)
PARKED_PATIENCE = timedelta(minutes=30)  # beyond the time at which the extractor tries again by itself


handlers = Handlers("gateway")


@handlers.on(ArchiveProgressed, idempotent=True)
async def show_progress(event: ArchiveProgressed, tx: Tx) -> list[Event]:
    """Show how far the extractor of the previous release is, and give it more time; this one sends no event."""
    report = StreamProgress(
        upload_id=event.upload_id,
        stream_id=event.stream_id,
        parts_known=event.parts_done,
        parts_done=event.parts_done,
        members=event.members,
        bytes_out=event.bytes_out,
    )
    await deadlines.record_progress(tx, [report], deadline_at=event.at + PATIENCE)
    return []


@handlers.on(ArchiveExtracted)
async def take_files(event: ArchiveExtracted, tx: Tx) -> list[Event]:
    """List what was unpacked; register the model if its client has completed the upload and this was the last.

    Emits: ModelRegistered, ModelValidationRequested; or UploadFailed, if files are missing without which no model is.
    Raises: UploadNotFound.
    """
    upload = await sessions.lock(tx, event.upload_id)
    if upload.status not in LIVE:
        return []
    stream = await streams.finish(
        tx,
        event.stream_id,
        members=len(event.files),
        bytes_out=sum(file.size_bytes for file in event.files),
        stripped_prefix=event.stripped_prefix,
        dropped=event.dropped,
    )
    if stream is None:
        return []
    if stream.format in ("raw", "object"):
        [file] = event.files
        await files.take_unpacked(tx, upload.id, stream.number, sha256=file.sha256, key=file.key)
    else:
        await files.insert_unpacked(tx, upload.id, event.files)
    if upload.status == "open" or any(other.pending for other in await streams.of_upload(tx, upload.id)):
        return []
    return await session.register(tx, upload, at=event.at)


@handlers.on(ArchiveRejected)
async def refuse_content(event: ArchiveRejected, tx: Tx) -> list[Event]:
    """An archive is no model: the session fails, and the next part is answered with the finding.

    One wrong file of a directory is to be sent again, and costs only itself.
    Emits: UploadFailed; ObjectDropped.
    Raises: UploadNotFound.
    """
    upload = await sessions.lock(tx, event.upload_id)
    stream = await streams.by_id(tx, event.stream_id)
    if upload.status not in LIVE or stream is None or stream.unpacked:
        return []
    if stream.format in ("raw", "object"):
        return await session.refuse_file(tx, upload, stream, event.finding, at=event.at)
    code = ChecksumMismatch.code if event.finding.rule in CHECKSUM_RULES else ArchiveRejectedError.code
    return await session.fail(tx, upload, event.finding, code=code, at=event.at)


@handlers.on(ArchiveParked)
async def show_parked(event: ArchiveParked, tx: Tx) -> list[Event]:
    """The extractor cannot go on now, and tries again by itself; only its long silence after that is asked about.

    Raises: UploadNotFound.
    """
    upload = await sessions.lock(tx, event.upload_id)
    if upload.status in LIVE:
        await session.park(tx, upload, [event.stream_id], event.reason, ask_at=event.retry_at + PARKED_PATIENCE)
    return []


@handlers.on_dead(UploadOpened, UploadPartStored, UploadCompleted, ArchiveExtracted, ArchiveRejected)
async def park_undeliverable(
    letter: DeadLetter,
    event: UploadOpened | UploadPartStored | UploadCompleted | ArchiveExtracted | ArchiveRejected,
    tx: Tx,
) -> list[Event]:
    """An event that some service could not handle costs its upload nothing: it is parked for that reason, and kept.

    The sweeper asks again, with growing pauses, until it goes on or its last deadline passes.
    Raises: UploadNotFound.
    """
    upload_id = event.stream.upload_id if isinstance(event, UploadOpened) else event.upload_id
    upload = await sessions.lock(tx, upload_id)
    if upload.status in LIVE:
        reason = undeliverable(letter).sentence()
        await session.park(tx, upload, _streams_of(event), reason, ask_at=letter.at + PATIENCE)
    return []


def _streams_of(
    event: UploadOpened | UploadPartStored | UploadCompleted | ArchiveExtracted | ArchiveRejected,
) -> list[str]:
    if isinstance(event, UploadOpened):
        return [event.stream.id]
    return event.stream_ids if isinstance(event, UploadCompleted) else [event.stream_id]
