"""Every change of the state of an upload, and every `upload.*` event of the gateway.

Each function works in its caller's transaction. It returns the events that the caller has to emit in the same
transaction: a route by `emit`, a handler by returning them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.contracts import (
    ArchiveExtracted,
    Event,
    Finding,
    Format,
    ObjectDropped,
    Part,
    PartStream,
    StoredFile,
    UploadAborted,
    UploadCompleted,
    UploadExpired,
    UploadFailed,
    UploadOpened,
    UploadPartStored,
    UploadResumeRequested,
    id_of,
    new_id,
)
from libs.contracts.keys import part_key, staged_key
from libs.db import Tx
from libs.errors import ArchiveRejected, FilesMissing, QuotaExceeded, WrongState
from libs.modelfiles.required import missing_files
from libs.signals import notify
from services.gateway.limits.quotas import Demand, require_room, too_much
from services.gateway.models import registration
from services.gateway.models import transitions as model_transitions
from services.gateway.uploads import states
from services.gateway.uploads.completeness import cut_otherwise, require_everything, wrong_sum
from services.gateway.uploads.deadlines import in_words
from services.gateway.uploads.store import deadlines, files, parts, streams, transfers, uploads
from services.gateway.uploads.store.channels import UPLOAD_CHANGED
from services.gateway.uploads.store.deadlines import Overdue
from services.gateway.uploads.store.expiry import Lifetime
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.parts import Added, StoredPart
from services.gateway.uploads.store.streams import Stream, stream_id
from services.gateway.uploads.store.transfers import Transfer
from services.gateway.uploads.store.uploads import Upload

VANISHED = "The stored copy that this file was to share was deleted, or lost by storage, during the upload."


# Sending: the upload stays open


async def begin(
    tx: Tx,
    project_id: str,
    name: str,
    version: str | None,
    *,
    kind: str,
    chunk_size_bytes: int,
    expires_at: datetime,
    wanted: Demand,
) -> Upload:
    """Open an upload for a new version of the model `name`: -> open. What is `wanted` is reserved until it ends.

    Raises: QuotaExceeded; Conflict if the version exists.
    """
    await require_room(tx, project_id, wanted)
    model_id, chosen = await model_transitions.create(tx, project_id, name, version)
    upload_id = new_id()
    await uploads.insert(
        tx,
        upload_id=upload_id,
        project_id=project_id,
        model_id=model_id,
        model_name=name,
        model_version=chosen,
        kind=kind,
        chunk_size_bytes=chunk_size_bytes,
        expires_at=expires_at,
        declared_bytes=wanted.new_bytes,
        stored_limit=wanted.limits.stored_bytes,
        key_id=wanted.key_id,
    )
    return await uploads.get(tx, project_id, upload_id)


async def store_part(
    tx: Tx,
    upload: Upload,
    stream: Stream,
    part: StoredPart,
    *,
    begins: UploadFile | None = None,
    at: datetime,
    lifetime: Lifetime,
) -> tuple[Added, list[Event]]:
    """Record a part that is in storage, and count it; not `recorded` if one of its number is, or the upload is closed.

    begins: the file, as it was looked up, of a `stream` that has no row yet.
    at: since when the extractor has to report on the part; it is asked about it later, if it has not.
    Emits: UploadOpened with the first part of a stream, UploadPartStored with every other.
    Raises: PartSizeMismatch if the parts cannot add up; Conflict if the file is being sent in another number of parts.
    """
    added = None
    if begins is not None:
        added = await parts.begin(tx, stream, part, refusals=begins.refusals, due_at=at, lifetime=lifetime)
    if added is None or not added.recorded:  # the second, where another first part was faster
        added = await parts.add(tx, upload.id, stream.id, part, due_at=at, lifetime=lifetime)
    if added.stream is None:
        if added.recorded:
            raise await wrong_sum(tx, stream, part)
        return added, []
    if added.stream.total_parts != stream.total_parts:
        raise cut_otherwise(stream.path, added.stream.total_parts, not_in=stream.total_parts)
    stored = Part(number=part.number, attempt=part.attempt, size_bytes=part.size_bytes)
    if added.stream.parts_stored == 1:
        opened = streams.as_event_stream(added.stream, upload.project_id, upload.model_id)
        return added, [UploadOpened(stream=opened, parts=[stored], at=at)]
    return added, [UploadPartStored(upload_id=upload.id, stream_id=stream.id, part=stored, at=at)]


async def hand_over(tx: Tx, upload: Upload, file: UploadFile, transfer: Transfer, *, at: datetime) -> list[Event]:
    """Have the extractor read the object that `transfer` has become, for its sha256; nothing if it has ended.

    Emits: UploadOpened.
    Raises: the reason, if the upload is not open.
    """
    await uploads.hold_open(tx, upload.id)
    if not await transfers.end(tx, transfer):
        return []
    stream = _of_one_object(upload, file, "object", transfer.key)
    if transfer.sha256 is not None:
        stream = msgspec.structs.replace(stream, sha256=transfer.sha256)
    return await _have_read(tx, [stream], at)


async def take_staged(tx: Tx, upload: Upload, staged: Sequence[UploadFile], *, at: datetime) -> list[Event]:
    """Everything has arrived, these files by signed URLs of storage, to be copied and hashed; open -> processing.

    Emits: UploadOpened for each of them, and what `complete` does.
    Raises: PartsMissing, if something else has not arrived.
    """
    sequences = [
        _of_one_object(upload, file, "staged", staged_key(upload.project_id, upload.id, file.path)) for file in staged
    ]
    return [*await _have_read(tx, sequences, at), *await complete(tx, upload, at=at)]


def _of_one_object(upload: Upload, file: UploadFile, how: Format, key: str) -> PartStream:
    """The stream of a file that is one object already."""
    return PartStream(
        id=stream_id(upload.id, file.number, file.refusals),
        upload_id=upload.id,
        project_id=upload.project_id,
        model_id=upload.model_id,
        number=file.number,
        format=how,
        size_bytes=file.size_bytes,
        total_parts=1,
        path=file.path,
        sha256=file.declared_sha256,
        key=key,
    )


async def _have_read(tx: Tx, sequences: Sequence[PartStream], at: datetime) -> list[Event]:
    """Announce streams that are one object each, and have the extractor read them. Emits: UploadOpened."""
    await streams.insert_objects(tx, sequences, due_at=at)
    return [
        UploadOpened(stream=stream, parts=[Part(number=0, attempt="", size_bytes=stream.size_bytes)], at=at)
        for stream in sequences
    ]


def fetch(sources: Sequence[PartStream], *, at: datetime) -> list[Event]:
    """Ask the extractor for files that are in another store, each of which is all there.

    Emits: UploadOpened.
    """
    return [UploadOpened(stream=stream, parts=_whole(stream), at=at) for stream in sources]


def _whole(stream: PartStream) -> list[Part]:
    """The one part of a stream that is one file."""
    return [Part(number=0, attempt="", size_bytes=stream.size_bytes)]


# Completing


async def complete(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """Everything has been sent, says the client: open -> processing, and on if nothing is left to unpack.

    Emits: UploadCompleted; or what `register` does.
    Raises: PartsMissing, which names what is missing.
    """
    all_streams = await require_everything(tx, upload)
    await uploads.move(tx, upload.id, states.COMPLETE)
    await model_transitions.process(tx, upload.model_id)
    waiting = [stream.id for stream in all_streams if stream.pending]
    if not waiting:
        return await register(tx, upload, at=at)
    completed = UploadCompleted(
        upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, stream_ids=waiting, at=at
    )
    return [completed]


async def unpack(tx: Tx, upload: Upload, extracted: ArchiveExtracted) -> list[Event]:
    """List the files of an unpacked stream; register the model if the upload is complete and this was the last.

    Emits: what `register` does.
    """
    stream = await streams.finish(
        tx,
        extracted.stream_id,
        members=len(extracted.files),
        bytes_out=sum(file.size_bytes for file in extracted.files),
        stripped_prefix=extracted.stripped_prefix,
        dropped=extracted.dropped,
    )
    if stream is None:
        return []
    if stream.of_one_file:
        [file] = extracted.files
        await files.record_unpacked(tx, upload.id, stream.number, sha256=file.sha256, key=file.key)
    else:
        await files.insert_unpacked(tx, upload.id, extracted.files)
    if upload.status == states.OPEN or await streams.any_pending(tx, upload.id):
        return []
    return await register(tx, upload, at=extracted.at)


async def register(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """Everything is unpacked: enter the files into the registry, each content once, and ask for the verdict.

    processing -> completed; or -> open, where the stored copy that a file was to share is gone; or -> failed.
    Models that had lost a file which this upload brings are whole again.
    Emits: ModelRegistered, ModelValidationRequested, for each of them too, and ObjectDropped for what was lost; or
    UploadFailed, if files are missing without which no model is, or if an archive became larger than its project may
    store; nothing for an upload that is open again.
    """
    if await files.unmark_vanished(tx, upload.id, upload.project_id, VANISHED):
        await reopen(tx, upload)
        return []
    brought = [
        StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, key=file.key)
        for file in await files.of_upload(tx, upload.id)
        if file.sha256 is not None and file.key is not None
    ]
    # Of files that came by signed URLs, that was asked before they were taken, as their client wants it to be.
    findings = [] if upload.kind == "signed" else missing_files(file.path for file in brought)
    if findings:
        code = ArchiveRejected.code if upload.kind == "archive" else FilesMissing.code
        return await fail(tx, upload, findings[0], code=code, at=at)
    if upload.stored_limit is not None:
        contents = {file.sha256: file.size_bytes for file in brought}
        new_bytes = sum(contents.values()) - await files.stored_before(tx, upload.project_id, list(contents.items()))
        beyond = await too_much(tx, upload.project_id, upload.stored_limit, new_bytes - upload.declared_bytes)
        if beyond is not None:
            return await fail(tx, upload, beyond, code=QuotaExceeded.code, at=at)
    events = await registration.register(tx, upload.project_id, upload.model_id, brought, upload_id=upload.id, at=at)
    await uploads.move(tx, upload.id, states.REGISTER)
    await notify(tx, UPLOAD_CHANGED, upload.id)
    return events


async def refuse_file(tx: Tx, upload: Upload, stream: Stream, finding: Finding, *, at: datetime) -> list[Event]:
    """The bytes of one file of a directory are wrong: it has to be sent again, and nothing else; processing -> open.

    Emits: ObjectDropped.
    """
    keys = [
        part_key(upload.project_id, upload.id, stream.number, part.number, part.attempt)
        for part in await parts.of_stream(tx, stream.id)
    ]
    await parts.remove(tx, stream.id)
    await streams.remove(tx, stream.id)
    await files.refuse(tx, upload.id, stream.number, finding.sentence())
    await reopen(tx, upload)
    if stream.key is not None and stream.format != "staged":  # that one its client may write to again
        keys.append(stream.key)
    return [ObjectDropped(project_id=upload.project_id, keys=keys, reason=finding.rule, at=at)] if keys else []


async def reopen(tx: Tx, upload: Upload) -> None:
    """A file of a directory has to be sent again: processing -> open; nothing, if the upload is open."""
    if await uploads.move(tx, upload.id, states.REOPEN):
        await model_transitions.reopen(tx, upload.model_id)
        await notify(tx, UPLOAD_CHANGED, upload.id)


# Waiting: the state stays


async def park(tx: Tx, upload: Upload, stream_ids: Sequence[str], reason: str, *, due_at: datetime) -> None:
    """Streams cannot be processed now, for a reason that is not their client's: nothing of them is lost.

    The extractor is asked again some time after `due_at`; what it says then, or an operator, ends the waiting.
    """
    await deadlines.park(tx, upload.id, stream_ids, reason, due_at)
    await notify(tx, UPLOAD_CHANGED, upload.id)


async def ask_again(tx: Tx, overdue: Overdue, *, at: datetime) -> list[Event]:
    """Ask the extractor for a stream, with every part known so far: it needs no earlier event.

    The event's id is made from the stream and when it was due, so that the same question asked twice is one.
    Emits: UploadOpened.
    """
    stream = overdue.stream
    if stream.key is not None:
        known = [Part(number=0, attempt="", size_bytes=stream.size_bytes)]
    else:
        known = [
            Part(number=part.number, attempt=part.attempt, size_bytes=part.size_bytes)
            for part in await parts.of_stream(tx, stream.id)
        ]
    asked = id_of("upload.opened", stream.id, overdue.due_at.isoformat())
    return [UploadOpened(id=asked, stream=stream, parts=known, at=at)]


async def resume(tx: Tx, upload: Upload, *, due_at: datetime, at: datetime) -> list[UploadResumeRequested]:
    """An operator wants what is parked of an upload to be tried again now.

    due_at: long enough ago that the next sweep asks the extractor about all of it.

    Emits: UploadResumeRequested.
    Raises: the reason, if the upload has ended; WrongState, if nothing of it waits.
    """
    if upload.status not in states.LIVE:
        raise states.why_closed(upload)
    waiting = [stream.id for stream in await streams.of_upload(tx, upload.id) if not stream.unpacked]
    if not waiting:
        raise WrongState("Nothing of this upload waits to be unpacked.", retryable=False)
    await deadlines.resume(tx, upload.id, due_at)
    return [UploadResumeRequested(upload_id=upload.id, stream_ids=waiting, at=at)]


# Ending


async def fail(tx: Tx, upload: Upload, finding: Finding, *, code: str, at: datetime) -> list[Event]:
    """The upload cannot become a model: it and the model say why, and what was stored goes; open, processing -> failed.

    Emits: UploadFailed; nothing if the upload has ended already.
    """
    reason = finding.sentence()
    error = {"message": reason, "code": code, "finding": msgspec.to_builtins(finding)}
    if not await _end(tx, upload, states.FAIL, error=error):
        return []
    await model_transitions.fail(tx, upload.model_id, reason)
    failed = UploadFailed(
        upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, reason=reason, at=at
    )
    return [failed]


async def abort(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """The client gives up: the model's row goes, and what was stored; open, processing -> aborted.

    Emits: UploadAborted; nothing if the upload is aborted already.
    Raises: the reason, if it has ended otherwise.
    """
    if not await _end(tx, upload, states.ABORT):
        if upload.status != states.ABORTED:
            raise states.why_closed(upload)
        return []
    await model_transitions.discard(tx, upload.model_id)
    return [UploadAborted(upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, at=at)]


async def expire(tx: Tx, upload: Upload, lifetime: Lifetime, *, at: datetime) -> list[Event]:
    """Nothing arrived for too long: the model is in error for that reason, and what was stored goes; open -> expired.

    Emits: UploadExpired; nothing if the upload is not open.
    """
    since = upload.expires_at - upload.created_at
    if since < lifetime.longest:
        reason = f"Nothing arrived for {in_words(lifetime.ttl)}, and the upload was not complete. "
    else:
        reason = f"The upload was not completed within {in_words(lifetime.longest)}. "
    reason += "Upload the model again."
    error = {"message": reason, "code": "upload_expired", "finding": None}
    if not await _end(tx, upload, states.EXPIRE, error=error):
        return []
    await model_transitions.fail(tx, upload.model_id, reason)
    return [UploadExpired(upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, at=at)]


async def _end(
    tx: Tx, upload: Upload, transition: states.UploadTransition, error: dict[str, Any] | None = None
) -> bool:
    """Make a last transition; False if the upload is in none of its source states."""
    if not await uploads.move(tx, upload.id, transition, error=error):
        return False
    await deadlines.rest(tx, upload.id)
    await notify(tx, UPLOAD_CHANGED, upload.id)
    return True
