"""What happens to a session as a whole: it is completed, registered as a model, or ended otherwise.

Every function works in the caller's transaction and returns the events to emit with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from libs.config import DAY_S
from libs.contracts import (
    Event,
    Finding,
    ObjectDropped,
    Part,
    StoredFile,
    UploadAborted,
    UploadCompleted,
    UploadExpired,
    UploadFailed,
    UploadOpened,
    id_of,
)
from libs.contracts.keys import part_key
from libs.db import Tx
from libs.errors import ArchiveRejected, FilesMissing, PartsMissing, ProcessingFailed
from libs.modelfiles.required import missing_files
from libs.signals import notify
from services.gateway.models import registration
from services.gateway.models import transitions as model_transitions
from services.gateway.uploads.ranges import missing_ranges
from services.gateway.uploads.store import deadlines, files, sessions, streams
from services.gateway.uploads.store.deadlines import Overdue
from services.gateway.uploads.store.expiry import Lifetime
from services.gateway.uploads.store.sessions import Upload
from services.gateway.uploads.store.streams import Stream

CHANNEL = "upload"  # signalled with the upload's id at every change of its status
NAMED_AT_MOST = 20  # files in one message
VANISHED = "The stored copy that this file was to share was deleted, or lost by storage, during the upload."


async def complete(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """Take the client's word that everything has been sent, if it has: open -> processing (and on, if it can).

    Emits: UploadCompleted; or what `register` does, if nothing is left to unpack.
    Raises: PartsMissing, naming what is missing.
    """
    all_streams = await require_everything(tx, upload)
    await sessions.move(tx, upload.id, "processing", only_from=("open",))
    await model_transitions.process(tx, upload.model_id)
    waiting = [stream.id for stream in all_streams if stream.pending]
    if not waiting:
        return await register(tx, upload, at=at)
    completed = UploadCompleted(
        upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, stream_ids=waiting, at=at
    )
    return [completed]


async def require_everything(tx: Tx, upload: Upload) -> list[Stream]:
    """The session's streams, if all that was announced has been sent. Raises: PartsMissing, naming what is missing."""
    all_streams = await streams.of_upload(tx, upload.id)
    if upload.kind == "directory":
        await _require_files(tx, upload, all_streams)
    else:
        await _require_parts(tx, all_streams[0])
    return all_streams


async def _require_parts(tx: Tx, stream: Stream) -> None:
    if stream.complete:
        return
    stored = [part.number for part in await streams.parts(tx, stream.id)]
    missing = missing_ranges(stored, stream.total_parts)
    named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in missing[:NAMED_AT_MOST])
    more = ", …" if len(missing) > NAMED_AT_MOST else ""
    raise PartsMissing(
        f"Parts {named}{more} of {stream.total_parts} (numbered from 0) have not been uploaded; send them, then "
        "complete the upload again.",
        details={"missing": missing},
        retryable=False,
    )


async def _require_files(tx: Tx, upload: Upload, all_streams: Sequence[Stream]) -> None:
    in_chunks = {stream.number: stream for stream in all_streams}
    missing = [
        file
        for file in await files.of_upload(tx, upload.id)
        if file.key is None and not (file.number in in_chunks and in_chunks[file.number].complete)
    ]
    if missing:
        named = ", ".join(file.path for file in missing[:NAMED_AT_MOST])
        more = ", …" if len(missing) > NAMED_AT_MOST else ""
        reasons = {file.path: file.refused for file in missing if file.refused}
        why = " ".join(list(reasons.values())[:NAMED_AT_MOST])
        raise PartsMissing(
            f"{len(missing)} file(s) of the manifest have not been uploaded: {named}{more}. "
            + (f"{why} " if why else "")
            + "Send them, then complete the upload again.",
            details={"missing": [file.path for file in missing], "reasons": reasons},
            retryable=False,
        )


async def register(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """Everything is unpacked: enter the files into the registry, each content once, and ask for the verdict.

    Models that had lost a file which this upload brings are whole again. Where the stored copy that a file was to share
    is gone, that file is to be sent after all: processing -> open.
    Emits: ModelRegistered, ModelValidationRequested, for each of them too, and ObjectDropped for what was lost; or
    UploadFailed, if files are missing without which no model is; nothing for a session that is open again.
    """
    if await files.unmark_vanished(tx, upload.id, upload.project_id, VANISHED):
        await _reopen(tx, upload)
        return []
    brought = [
        StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, key=file.key)
        for file in await files.of_upload(tx, upload.id)
        if file.sha256 is not None and file.key is not None
    ]
    findings = missing_files(file.path for file in brought)
    if findings:
        code = ArchiveRejected.code if upload.kind == "archive" else FilesMissing.code
        return await fail(tx, upload, findings[0], code=code, at=at)
    events = await registration.register(tx, upload.project_id, upload.model_id, brought, upload_id=upload.id, at=at)
    await sessions.move(tx, upload.id, "completed", only_from=("processing",))
    await notify(tx, CHANNEL, upload.id)
    return events


async def _reopen(tx: Tx, upload: Upload) -> None:
    """A file of a complete directory is to be sent again: processing -> open."""
    if await sessions.move(tx, upload.id, "open", only_from=("processing",)):
        await model_transitions.reopen(tx, upload.model_id)
        await notify(tx, CHANNEL, upload.id)


async def refuse_file(tx: Tx, upload: Upload, stream: Stream, finding: Finding, *, at: datetime) -> list[Event]:
    """The bytes of one file of a directory are wrong: it is to be sent again, and nothing else; processing -> open.

    Emits: ObjectDropped.
    """
    keys = [
        part_key(upload.project_id, upload.id, stream.number, part.number, part.attempt)
        for part in await streams.parts(tx, stream.id)
    ]
    await streams.remove(tx, stream.id)
    await files.refuse(tx, upload.id, stream.number, finding.sentence())
    await _reopen(tx, upload)
    dropped = [*keys, *([stream.key] if stream.key else [])]
    return [ObjectDropped(project_id=upload.project_id, keys=dropped, reason=finding.rule, at=at)]


async def park(tx: Tx, upload: Upload, stream_ids: Sequence[str], reason: str, *, ask_at: datetime) -> None:
    """Streams cannot be processed now, for a reason that is not their client's: nothing of them is lost.

    The extractor is asked again at `ask_at`; what it says then, or an operator, ends the waiting.
    """
    await deadlines.park(tx, upload.id, stream_ids, reason, ask_at)
    await notify(tx, CHANNEL, upload.id)


async def fail(tx: Tx, upload: Upload, finding: Finding, *, code: str, at: datetime) -> list[Event]:
    """The upload cannot become a model: the session and the model say why, and what was stored goes.

    Emits: UploadFailed; nothing if the session has ended already.
    """
    reason = finding.sentence()
    error = {"message": reason, "code": code, "finding": msgspec.to_builtins(finding)}
    if not await sessions.move(tx, upload.id, "failed", error=error):
        return []
    await deadlines.rest(tx, upload.id)
    await model_transitions.fail(tx, upload.model_id, reason)
    await notify(tx, CHANNEL, upload.id)
    failed = UploadFailed(
        upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, reason=reason, at=at
    )
    return [failed]


async def abort(tx: Tx, upload: Upload, *, at: datetime) -> list[Event]:
    """The client gives up: the model's row goes, and what was stored.

    Emits: UploadAborted; nothing if the session has ended already.
    """
    if not await sessions.move(tx, upload.id, "aborted"):
        return []
    await deadlines.rest(tx, upload.id)
    await model_transitions.discard(tx, upload.model_id)
    await notify(tx, CHANNEL, upload.id)
    return [UploadAborted(upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, at=at)]


async def expire(tx: Tx, upload: Upload, lifetime: Lifetime, *, at: datetime) -> list[Event]:
    """The session made no progress for too long: its model is in error for that reason, and what was stored goes.

    Emits: UploadExpired; nothing if the session has ended already.
    """
    since = upload.expires_at - upload.created_at
    if since < lifetime.longest:
        reason = f"Nothing arrived for {_in_words(lifetime.ttl)}, and the upload was not complete. "
    else:
        reason = f"The upload was not completed within {_in_words(lifetime.longest)}. "
    reason += "Upload the model again."
    error = {"message": reason, "code": "upload_expired", "finding": None}
    if not await sessions.move(tx, upload.id, "expired", only_from=("open",), error=error):
        return []
    await deadlines.rest(tx, upload.id)
    await model_transitions.fail(tx, upload.model_id, reason)
    await notify(tx, CHANNEL, upload.id)
    return [UploadExpired(upload_id=upload.id, project_id=upload.project_id, model_id=upload.model_id, at=at)]


async def end_processing(tx: Tx, upload: Upload, longest: timedelta, *, at: datetime) -> list[Event]:
    """The last deadline of a complete upload has passed: it fails, for the reason that it has been waiting for.

    Emits: UploadFailed.
    """
    waiting = [stream.waiting_for for stream in await streams.of_upload(tx, upload.id) if stream.waiting_for]
    finding = Finding(
        rule="processing-timeout",
        severity="error",
        message=f"the upload could not be processed within {_in_words(longest)}. "
        + (waiting[0] if waiting else "The extractor did not answer."),
        fix="Upload the model again once the operator of this installation has repaired that.",
    )
    return await fail(tx, upload, finding, code=ProcessingFailed.code, at=at)


def _in_words(ttl: timedelta) -> str:
    seconds = round(ttl.total_seconds())
    if seconds >= 2 * DAY_S:
        return f"{seconds // DAY_S} days"
    return f"{seconds // 3600} hours" if seconds >= 7200 else f"{seconds} seconds"


async def opened(tx: Tx, overdue: Overdue, *, at: datetime) -> UploadOpened:
    """The stream with every part known so far: tells an extractor all it needs, however much was lost before.

    Its id is made from the stream and when it was due, so that the same question asked twice is one.
    """
    stream = overdue.stream
    if stream.format == "object":
        parts = [Part(number=0, attempt="", size_bytes=stream.size_bytes)]
    else:
        parts = streams.as_event_parts(await streams.parts(tx, stream.id))
    asked = id_of("upload.opened", stream.id, overdue.deadline_at.isoformat())
    return UploadOpened(id=asked, stream=stream, parts=parts, at=at)
