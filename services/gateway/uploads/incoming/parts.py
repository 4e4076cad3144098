"""Parts of a stream that the extractor unpacks: of an archive, or of one file where its chunks are small."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.contracts import Event, ObjectDropped, PartStream, UploadOpened, UploadPartStored
from libs.contracts.keys import part_key
from libs.db import Tx, connection, transaction
from libs.errors import Conflict, Invalid, NotFound, PartSizeMismatch, SlipwayError, Unavailable
from libs.outbox import emit
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.presentation import percent
from services.gateway.uploads import receive, schemas
from services.gateway.uploads.lifetimes import lifetime
from services.gateway.uploads.receive import Expected, Received
from services.gateway.uploads.store import sessions, streams
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.sessions import Upload
from services.gateway.uploads.store.streams import StoredPart, Stream


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is stored."""

    received: Received
    stream: Stream | None = None  # that it is of
    counts: tuple[int, int] | None = None  # of the session's files, where they were counted on the way


@asynccontextmanager
async def dropped_if_refused(dependencies: Dependencies, project_id: str, key: str) -> AsyncIterator[None]:
    """Where what happens inside is refused, the object `key` is removed: nothing refers to it.

    After any other error it may be recorded all the same (a connection can break between a commit and its
    acknowledgement), so it stays, and goes with its session if nothing refers to it then.
    """
    try:
        yield
    except Unavailable:
        raise
    except SlipwayError as error:
        await drop(dependencies, project_id, key, reason=error.code)
        raise


async def drop(dependencies: Dependencies, project_id: str, key: str, *, reason: str) -> None:
    """Nothing refers to the object. Emits: ObjectDropped."""
    async with transaction(dependencies.pool) as tx:
        await emit(tx, [ObjectDropped(project_id=project_id, keys=[key], reason=reason, at=datetime.now(UTC))])


def require_kind(upload: Upload, kind: str) -> None:
    """Raises: Conflict for a session of another kind; why the session is not open."""
    if upload.kind != kind:
        raise Conflict(
            f"This upload is of the kind {upload.kind!r}; send "
            + ("parts to /parts." if upload.kind == "archive" else "files to /files/{relative_path}."),
            retryable=False,
        )
    sessions.require_open(upload)


async def receive_part(request: Request[Dependencies]) -> schemas.PartStored:
    """One part of an archive, in any order, in parallel; the same part again is fine.

    Raises: UploadNotFound; the reason, if the session has ended; PartSizeMismatch; ChecksumMismatch; PartConflict.
    """
    dependencies = request.dependencies
    number: int = request.query.part_number
    async with connection(dependencies.pool) as tx:
        target = await streams.target(tx, request.principal.project_id, request.params["upload_id"], number)
    upload, archive = target.upload, target.stream
    require_kind(upload, "archive")
    if archive is None:
        raise NotFound("This upload has no archive.")
    if number >= archive.total_parts:
        raise Invalid(
            f"'part_number' counts from 0 and must be below {archive.total_parts}; got {number}.",
            param="part_number",
        )
    size = min(upload.chunk_size_bytes, archive.size_bytes - number * upload.chunk_size_bytes)
    expected = Expected(
        what=f"Part {number}",
        size_bytes=size,
        max_bytes=size,
        sha256=receive.declared_checksum(request, "X-Chunk-Checksum"),
    )
    taken = await take_part(request, upload, archive, number, target.part, expected)
    received, archive = taken.received, taken.stream or archive
    return schemas.PartStored(
        session_id=upload.id,
        part_number=number,
        size=received.size_bytes,
        checksum=received.sha256,
        uploaded_chunks=archive.parts_stored,
        total_chunks=archive.total_parts,
        progress=percent(archive.bytes_stored, archive.size_bytes),
    )


async def take_part(
    request: Request[Dependencies],
    upload: Upload,
    stream: Stream,
    number: int,
    known: StoredPart | None,
    expected: Expected,
    begins: UploadFile | None = None,
) -> Taken:
    """Store one part of a stream and record it, or see that it is the one that is recorded.

    `begins`: the file, as it was looked up, of a stream that is not announced yet.
    Emits: UploadOpened with the first part of a stream, UploadPartStored with every other.
    Raises: as `receive_part`.
    """
    dependencies = request.dependencies
    receive.check_length(request, expected)
    if known is not None:
        return Taken(received=await receive.compare(request, expected, known.sha256), stream=stream)
    attempt = receive.new_attempt()
    key = part_key(upload.project_id, upload.id, stream.number, number, attempt)
    received = await receive.store(request, key, expected)
    part = StoredPart(number=number, attempt=attempt, size_bytes=received.size_bytes, sha256=received.sha256)
    async with dropped_if_refused(dependencies, upload.project_id, key):
        added = await _record(dependencies, stream, part, upload, begins)
    if added.recorded:
        return Taken(received=received, stream=added.stream, counts=(added.arrived, added.expected))
    async with connection(dependencies.pool) as tx:
        known = await streams.part(tx, stream.id, number)
        now = await sessions.get(tx, upload.project_id, upload.id)
    await drop(dependencies, upload.project_id, key, reason="repeated")
    if known is None:
        sessions.require_open(now)
        raise Conflict(
            f"{expected.what} does not count: those beside it were refused meanwhile, or the file was begun otherwise; "
            "ask for its state and go on from there."
        )
    receive.require_same(expected, received.sha256, known.sha256)
    return Taken(received=received, stream=stream)


async def _record(
    dependencies: Dependencies, stream: Stream, part: StoredPart, upload: Upload, begins: UploadFile | None
) -> streams.Added:
    """Record and count a part, and notify the extractor.

    Raises: PartSizeMismatch, if the parts cannot add up; Conflict, if the file was begun in other parts meanwhile.
    """
    now = datetime.now(UTC)
    until: dict[str, Any] = {
        "deadline_at": now + timedelta(seconds=dependencies.config.stale_after_s),
        "lifetime": lifetime(dependencies.config),
    }
    async with transaction(dependencies.pool) as tx:
        added = None if begins is None else await streams.begin(tx, stream, part, refusals=begins.refusals, **until)
        if added is None or not added.recorded:  # the second, where another first part was faster
            added = await streams.add_part(tx, upload.id, stream.id, part, **until)
        if added.stream is not None:
            if added.stream.total_parts != stream.total_parts:
                raise sent_in(stream.path, added.stream.total_parts, not_in=stream.total_parts)
            await emit(tx, [_stored(upload, added.stream, part, now)])
        elif added.recorded:
            await _refuse_sum(tx, stream, part)
    return added


def sent_in(path: str | None, count: int | None, *, not_in: int) -> Conflict:
    """A file is being sent in so many parts."""
    return Conflict(
        f"{path!r} is being sent in {count} parts, not in {not_in}; go on with {count}.",
        param="part_count",
        retryable=False,
    )


def _stored(upload: Upload, stream: Stream, part: StoredPart, now: datetime) -> Event:
    [stored] = streams.as_event_parts([part])
    if stream.parts_stored == 1:
        return UploadOpened(stream=_part_stream(upload, stream), parts=[stored], at=now)
    return UploadPartStored(upload_id=upload.id, stream_id=stream.id, part=stored, at=now)


async def _refuse_sum(tx: Tx, stream: Stream, part: StoredPart) -> None:
    """Raises: PartSizeMismatch, always."""
    stored = await streams.get(tx, stream.upload_id, stream.number)
    total = (stored.bytes_stored if stored else 0) + part.size_bytes
    raise PartSizeMismatch(
        f"The parts of {stream.path!r} have {total} bytes together, but the manifest says {stream.size_bytes}. "
        f"Part {part.number} was not stored; send it with the right size, or abort the upload and start again.",
        retryable=False,
    )


def _part_stream(upload: Upload, stream: Stream) -> PartStream:
    """The stream as events carry it."""
    return PartStream(
        id=stream.id,
        upload_id=upload.id,
        project_id=upload.project_id,
        model_id=upload.model_id,
        number=stream.number,
        format=stream.format,
        size_bytes=stream.size_bytes,
        total_parts=stream.total_parts,
        path=stream.path,
        sha256=stream.sha256,
    )
