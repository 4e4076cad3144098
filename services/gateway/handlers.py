"""What the gateway does about each event: the registry as clients see it follows the other services."""

from __future__ import annotations

from datetime import timedelta

from libs.bus import DeadLetter, Handlers
from libs.contracts import (
    ArchiveExtracted,
    ArchiveProgressed,
    ArchiveRejected,
    Event,
    Finding,
    ModelRejected,
    ModelValidated,
    ModelValidationRequested,
    ObjectDropped,
    ObjectUnclaimed,
    UploadCompleted,
    UploadOpened,
    UploadPartStored,
)
from libs.contracts.keys import upload_of
from libs.db import Tx
from libs.errors import ArchiveRejected as ArchiveRejectedError
from libs.errors import ChecksumMismatch, ProcessingFailed
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models
from services.gateway.uploads import session
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import files, sessions, streams

# How long the extractor and the validator have before they are asked again, from the event that starts the wait. No
# setting, since a handler reads none; from the second time on the sweepers ask every `stale_after_s`.
PATIENCE = timedelta(seconds=30)

CHECKSUM_RULES = ("archive-checksum", "file-checksum")  # the extractor's, where not the format but the bytes are wrong

handlers = Handlers("gateway")


@handlers.on(ArchiveProgressed)
async def show_progress(event: ArchiveProgressed, tx: Tx) -> list[Event]:
    """Show how far the extractor is, and give it more time."""
    await streams.progress(
        tx,
        event.stream_id,
        parts_done=event.parts_done,
        members=event.members,
        bytes_out=event.bytes_out,
        deadline_at=event.at + PATIENCE,
    )
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
    if stream.format == "raw":
        [file] = event.files
        await files.receive(tx, upload.id, stream.number, sha256=file.sha256, key=file.key)
    else:
        await files.insert_unpacked(tx, upload.id, event.files)
    if upload.status == "open" or any(other.pending for other in await streams.of_upload(tx, upload.id)):
        return []
    return await session.register(tx, upload, at=event.at, deadline_at=event.at + PATIENCE)


@handlers.on(ArchiveRejected)
async def refuse_upload(event: ArchiveRejected, tx: Tx) -> list[Event]:
    """The content is no model: the session fails, and the next part is answered with the finding.

    Emits: UploadFailed.
    Raises: UploadNotFound.
    """
    upload = await sessions.lock(tx, event.upload_id)
    code = ChecksumMismatch.code if event.finding.rule in CHECKSUM_RULES else ArchiveRejectedError.code
    return await session.fail(tx, upload, event.finding, code=code, at=event.at)


@handlers.on(ModelValidated, ModelRejected)
async def take_verdict(event: ModelValidated | ModelRejected, tx: Tx) -> list[Event]:
    """validating -> ready or error; a version that is ready becomes the latest of its name."""
    errors = [finding for finding in event.report.findings if finding.severity == "error"]
    reason = None
    if errors:
        more = f" ({len(errors) - 1} more; see the report.)" if len(errors) > 1 else ""
        reason = errors[0].sentence() + more
    await models.lock_name(tx, event.model_id)
    model = await models.record_verdict(
        tx, event.model_id, event.validation_id, event.report, reason=reason, at=event.at
    )
    if model is not None and reason is None:
        await models.become_latest(tx, model)
    return []


@handlers.on(ObjectUnclaimed)
async def drop_unclaimed(event: ObjectUnclaimed, tx: Tx) -> list[Event]:
    """Say which of the objects that lifecycle found belong to nothing: neither to a model nor to a live upload.

    Of those that models have it was never told, or the telling was lost: it is told again.
    Emits: ObjectDropped, ModelRegistered.
    """
    live = await sessions.live_among(tx, [upload for key in event.keys if (upload := upload_of(key))])
    kept = await model_files.claimed(tx, event.keys)
    events: list[Event] = [
        await session.registered(tx, upload, at=event.at) for upload in await sessions.that_brought(tx, sorted(kept))
    ]
    unclaimed = [key for key in event.keys if key not in kept and upload_of(key) not in live]
    if unclaimed:
        events.append(ObjectDropped(project_id=event.project_id, keys=unclaimed, reason="unclaimed", at=event.at))
    return events


@handlers.on_dead(UploadOpened, UploadPartStored, UploadCompleted, ArchiveExtracted, ArchiveRejected)
async def fail_undeliverable_upload(
    letter: DeadLetter,
    event: UploadOpened | UploadPartStored | UploadCompleted | ArchiveExtracted | ArchiveRejected,
    tx: Tx,
) -> list[Event]:
    """An upload that some service could not work on is in error for that reason, not waiting for ever.

    Emits: UploadFailed.
    Raises: UploadNotFound.
    """
    upload_id = event.stream.upload_id if isinstance(event, UploadOpened) else event.upload_id
    upload = await sessions.lock(tx, upload_id)
    return await session.fail(tx, upload, _undeliverable(letter), code=ProcessingFailed.code, at=event.at)


@handlers.on_dead(ModelValidationRequested, ModelValidated, ModelRejected)
async def fail_undeliverable_model(
    letter: DeadLetter, event: ModelValidationRequested | ModelValidated | ModelRejected, tx: Tx
) -> list[Event]:
    """A model that could not be validated is in error for that reason, not validating for ever."""
    await models.fail(tx, event.model_id, _undeliverable(letter).sentence())
    return []


def _undeliverable(letter: DeadLetter) -> Finding:
    return Finding(
        rule="processing-failed",
        severity="error",
        message=f"{letter.consumer} could not process {letter.event_type}: {letter.reason}",
        fix="Tell the operator of this installation; the dead letter has the details.",
    )
