"""Routes that take bytes: parts of an archive, files of a directory, chunks of one file.

Each attempt is written to a key of its own, and counts only by the transaction that records it: of two racing requests
for the same part one is recorded, and the other's object is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.contracts import Event, ObjectDropped, PartStream, UploadPartStored
from libs.contracts.keys import file_key, part_key
from libs.db import Tx, connection, transaction
from libs.errors import Conflict, Invalid, NotFound, PartSizeMismatch, SlipwayError, Unavailable
from libs.modelfiles.paths import check_path
from libs.outbox import emit
from libs.web import Call
from services.gateway.presentation import percent
from services.gateway.state import Gateway
from services.gateway.uploads import receive, schemas, session
from services.gateway.uploads.receive import Expected, Received
from services.gateway.uploads.store import files, sessions, streams
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.sessions import Upload
from services.gateway.uploads.store.streams import StoredPart, Stream


@asynccontextmanager
async def dropped_if_refused(state: Gateway, project_id: str, key: str) -> AsyncIterator[None]:
    """Where what happens inside is refused, the object `key` is removed: nothing refers to it.

    After any other error it may be recorded all the same (a connection can break between a commit and its
    acknowledgement), so it stays, and goes with its session if nothing refers to it then.
    """
    try:
        yield
    except Unavailable:
        raise
    except SlipwayError as error:
        await _drop(state, project_id, key, reason=error.code)
        raise


async def _drop(state: Gateway, project_id: str, key: str, *, reason: str) -> None:
    async with transaction(state.pool) as tx:
        await emit(tx, [ObjectDropped(project_id=project_id, keys=[key], reason=reason, at=datetime.now(UTC))])


async def receive_part(call: Call) -> schemas.PartStored:
    """One part of an archive, in any order, in parallel; the same part again is fine.

    Raises: UploadNotFound; the reason, if the session has ended; PartSizeMismatch; ChecksumMismatch; PartConflict.
    """
    state: Gateway = call.state
    number: int = call.query.part_number
    async with connection(state.pool) as tx:
        upload = await _open_upload(call, tx, "archive")
        [archive] = await streams.of_upload(tx, upload.id)
        known = await streams.part(tx, archive.id, number)
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
        sha256=receive.declared_checksum(call, "X-Chunk-Checksum"),
    )
    received, archive = await _take_part(call, upload, archive, number, known, expected)
    return schemas.PartStored(
        session_id=upload.id,
        part_number=number,
        size=received.size_bytes,
        checksum=received.sha256,
        uploaded_chunks=archive.parts_stored,
        total_chunks=archive.total_parts,
        progress=percent(archive.bytes_stored, archive.size_bytes),
    )


async def receive_file(call: Call) -> schemas.FileReceived:
    """A file of the manifest, whole or (`part_number`, `part_count`) one chunk of it.

    Raises: UploadNotFound; NotFound for a path that is not in the manifest; Invalid for one that cannot be in any;
    PartSizeMismatch; ChecksumMismatch; PartConflict; the reason, if the session has ended.
    """
    state: Gateway = call.state
    query: schemas.FileQuery = call.query
    path = check_path(call.params["path"])
    async with connection(state.pool) as tx:
        upload = await _open_upload(call, tx, "directory")
        file = await files.get(tx, upload.id, path)
    if file is None:
        raise NotFound(f"{path!r} is not in the manifest that this upload was opened with.")
    if (query.part_number is None) != (query.part_count is None):
        raise Invalid("'part_number' and 'part_count' go together.", param="part_number")
    if query.part_number is None or (query.part_count == 1 and query.part_number == 0):
        received = await _take_file(call, upload, file)
        chunk: dict[str, Any] = {}
    else:
        received = await _take_chunk(call, upload, file, query.part_number, query.part_count or 0)
        chunk = {"part_number": query.part_number, "part_count": query.part_count}
    async with connection(state.pool) as tx:
        arrived, expected = await files.counts(tx, upload.id)
    return schemas.FileReceived(
        relative_path=file.path,
        size=received.size_bytes,
        checksum=received.sha256,
        uploaded_file_count=arrived,
        expected_file_count=expected,
        progress=percent(arrived, expected),
        **chunk,
    )


async def _take_file(call: Call, upload: Upload, file: UploadFile) -> Received:
    state: Gateway = call.state
    checksum = receive.declared_checksum(call, "X-File-Checksum")
    if checksum and file.declared_sha256 and checksum != file.declared_sha256:
        raise Invalid(
            f"X-File-Checksum is {checksum}, but the manifest gives {file.declared_sha256} for {file.path!r}.",
            param="X-File-Checksum",
        )
    expected = Expected(
        what=f"File {file.path!r}",
        size_bytes=file.size_bytes,
        max_bytes=file.size_bytes,
        sha256=checksum or file.declared_sha256,
    )
    receive.check_length(call, expected)
    if file.sha256 is not None:
        return await receive.compare(call, expected, file.sha256)
    key = file_key(upload.project_id, upload.id, file.number, receive.new_attempt())
    received = await receive.store(call, key, expected)
    async with dropped_if_refused(state, upload.project_id, key), transaction(state.pool) as tx:
        await sessions.hold_open(tx, upload.id)
        if await streams.get(tx, upload.id, file.number) is not None:
            raise Conflict(f"{file.path!r} is being sent in chunks; send the chunks that are missing.", retryable=False)
        won = await files.receive(tx, upload.id, file.number, sha256=received.sha256, key=key)
        first = await files.get(tx, upload.id, file.path)
    if not won:
        await _drop(state, upload.project_id, key, reason="repeated")
        receive.require_same(expected, received.sha256, (first and first.sha256) or "")
    return received


async def _take_chunk(call: Call, upload: Upload, file: UploadFile, number: int, count: int) -> Received:
    state: Gateway = call.state
    if number >= count:
        raise Invalid(f"'part_number' counts from 0 and must be below 'part_count' ({count}).", param="part_number")
    if count > file.size_bytes:
        raise Invalid(f"{file.path!r} has {file.size_bytes} bytes; it cannot be cut into {count}.", param="part_count")
    async with transaction(state.pool) as tx:
        await sessions.hold_open(tx, upload.id)
        stream = await _stream_of(tx, upload, file, count)
        known = await streams.part(tx, stream.id, number)
    expected = Expected(
        what=f"Part {number} of file {file.path!r}",
        size_bytes=None,
        max_bytes=file.size_bytes,
        sha256=receive.declared_checksum(call, "X-Chunk-Checksum"),
    )
    received, _ = await _take_part(call, upload, stream, number, known, expected)
    return received


async def _stream_of(tx: Tx, upload: Upload, file: UploadFile, count: int) -> Stream:
    if file.key is not None and await streams.get(tx, upload.id, file.number) is None:
        raise Conflict(f"{file.path!r} is stored already; nothing of it need be sent.", retryable=False)
    await streams.insert(
        tx,
        upload_id=upload.id,
        number=file.number,
        format="raw",
        path=file.path,
        size_bytes=file.size_bytes,
        total_parts=count,
        sha256=file.declared_sha256,
    )
    stream = await streams.get(tx, upload.id, file.number)
    if stream is None or stream.total_parts != count:
        cut = stream.total_parts if stream else 0
        raise Conflict(
            f"{file.path!r} is being sent in {cut} parts, not in {count}; go on with {cut}.",
            param="part_count",
            retryable=False,
        )
    return stream


async def _open_upload(call: Call, tx: Tx, kind: str) -> Upload:
    upload = await sessions.get(tx, call.principal.project_id, call.params["upload_id"])
    if upload.kind != kind:
        raise Conflict(
            f"This upload is of the kind {upload.kind!r}; send "
            + ("parts to /parts." if upload.kind == "archive" else "files to /files/{relative_path}."),
            retryable=False,
        )
    sessions.require_open(upload)
    return upload


async def _take_part(
    call: Call, upload: Upload, stream: Stream, number: int, known: StoredPart | None, expected: Expected
) -> tuple[Received, Stream]:
    """Store one part of a stream and record it, or see that it is the one that is recorded."""
    state: Gateway = call.state
    receive.check_length(call, expected)
    if known is not None:
        return await receive.compare(call, expected, known.sha256), stream
    attempt = receive.new_attempt()
    key = part_key(upload.project_id, upload.id, stream.number, number, attempt)
    received = await receive.store(call, key, expected)
    part = StoredPart(number=number, attempt=attempt, size_bytes=received.size_bytes, sha256=received.sha256)
    async with dropped_if_refused(state, upload.project_id, key), transaction(state.pool) as tx:
        await sessions.hold_open(tx, upload.id)
        won = await streams.add_part(tx, stream.id, part)
        if won:
            stream = await _count(tx, state, upload, stream, part)
        else:
            known = await streams.part(tx, stream.id, number)
    if known is not None:
        await _drop(state, upload.project_id, key, reason="repeated")
        receive.require_same(expected, received.sha256, known.sha256)
    return received, stream


async def _count(tx: Tx, state: Gateway, upload: Upload, stream: Stream, part: StoredPart) -> Stream:
    """Count a recorded part, and tell the extractor of it. Raises: PartSizeMismatch, if the parts cannot add up."""
    now = datetime.now(UTC)
    if stream.format == "raw":
        _require_sum(await streams.lock(tx, stream.id), part)
    counted = await streams.count_part(
        tx, stream.id, part.size_bytes, now + timedelta(seconds=state.config.stale_after_s)
    )
    event: Event
    [stored] = streams.as_event_parts([part])
    if counted.parts_stored == 1:
        event = await session.opened(tx, _part_stream(upload, counted), at=now)
    else:
        event = UploadPartStored(upload_id=upload.id, stream_id=stream.id, part=stored, at=now)
    await emit(tx, [event])
    return counted


def _require_sum(stream: Stream, part: StoredPart) -> None:
    total = stream.bytes_stored + part.size_bytes
    last = stream.parts_stored + 1 == stream.total_parts
    if total > stream.size_bytes or (last and total != stream.size_bytes):
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
