"""Files of a directory: whole, as a stream that is resumed, or in chunks.

A file of at most one part that comes in one request is one plain PUT; every other one is a stream (see `resumable`).
"""

from __future__ import annotations

import msgspec

from libs.archives.paths import check_path
from libs.contracts.keys import file_key, new_attempt
from libs.db import connection
from libs.errors import Conflict, Invalid, PartConflict, PartSizeMismatch
from libs.web import Request, Response
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import responses, schemas
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.objects import discard, drop, dropped_if_refused
from services.gateway.uploads.part_sizes import of_stream
from services.gateway.uploads.receiving import (
    DividedBody,
    Expected,
    NewObject,
    Span,
    StoredBefore,
    accept,
    declared_checksum,
    parse_content_range,
)
from services.gateway.uploads.resumable import Superseded, Turn, next_fence
from services.gateway.uploads.routes.chunks import take_chunk
from services.gateway.uploads.store import files
from services.gateway.uploads.store.files import FileTarget, UploadFile
from services.gateway.uploads.store.transfers import Transfer
from services.gateway.uploads.store.uploads import Upload


async def receive_file(request: Request[Dependencies]) -> schemas.FileReceived | Response:
    """A file of the manifest: whole, from a byte on (`Content-Range`), or a chunk of it (`part_number`, `part_count`).

    308 with `Range` while a stream is incomplete, and where it goes on at another byte than the request's first.
    Raises: UploadNotFound; NotFound for a path that is not in the manifest; Invalid for one that cannot be in any;
    PartSizeMismatch; ChecksumMismatch; PartConflict; the reason, if the upload is not open.
    """
    query: schemas.FileQuery = request.query
    path = check_path(request.params["path"])
    target = await _target(request, path)
    upload, file = target.upload, target.file
    if (query.part_number is None) != (query.part_count is None):
        raise Invalid("'part_number' and 'part_count' go together.", param="part_number")
    span = _span(request, file)
    if query.part_number is None or query.part_count is None or (query.part_count == 1 and query.part_number == 0):
        return await _FileRequest(request, target, span).receive()
    if span is not None:
        raise Invalid("A chunk by number has no Content-Range: send one or the other.", param="Content-Range")
    taken = await take_chunk(request, target, query.part_number, query.part_count)
    counts = taken.counts or await _counts(request, upload)
    return responses.chunk_received(file, query.part_number, query.part_count, taken.accepted, counts)


async def _target(request: Request[Dependencies], path: str) -> FileTarget:
    async with connection(request.dependencies.pool) as tx:
        return await files.target(
            tx, request.principal.project_id, request.params["upload_id"], path, request.query.part_number
        )


async def _counts(request: Request[Dependencies], upload: Upload) -> tuple[int, int]:
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        return (await files.counts(tx, [upload.id]))[upload.id]


def _span(request: Request[Dependencies], file: UploadFile) -> Span | None:
    """What Content-Range says; None without. Raises: Invalid; PartSizeMismatch, if it cannot be of this file."""
    header = request.http.headers.get("Content-Range")
    if header is None:
        return None
    span = parse_content_range(header)
    if span.total != file.size_bytes:
        raise PartSizeMismatch(
            f"Content-Range says that {file.path!r} has {span.total} bytes, the manifest says {file.size_bytes}.",
            param="Content-Range",
            retryable=False,
        )
    span.require_length(request.http.content_length)
    return span


class _FileRequest:
    """One request about a file that is not sent in chunks."""

    def __init__(self, request: Request[Dependencies], target: FileTarget, span: Span | None) -> None:
        self._request = request
        self._dependencies = request.dependencies
        self._target = target
        self._upload = target.upload
        self._file = file = target.file
        self._span = span
        checksum = declared_checksum(request, "X-File-Checksum")
        if checksum and file.declared_sha256 and checksum != file.declared_sha256:
            raise Invalid(
                f"X-File-Checksum is {checksum}, but the manifest gives {file.declared_sha256} for {file.path!r}.",
                param="X-File-Checksum",
            )
        self._declared = checksum
        self._expected = Expected(
            what=f"File {file.path!r}",
            size_bytes=file.size_bytes,
            max_bytes=file.size_bytes,
            sha256=checksum or file.declared_sha256,
        )

    async def receive(self) -> schemas.FileReceived | Response:
        """Do what is left to do, by how much of the file is stored."""
        if self._span is None:
            self._expected.require_headers(self._request)
        stream = self._target.stream
        if self._file.key is not None:
            return await self._again()
        if stream is not None and stream.key is not None:
            return await self._whole(stream.sha256)
        if stream is not None or (self._target.transfer and self._target.transfer.part_count is not None):
            raise Conflict(
                f"{self._file.path!r} is being sent in chunks; send the chunks that are missing.", retryable=False
            )
        try:
            return await self._send()
        except Superseded:
            return await self._as_it_is()

    async def _send(self) -> schemas.FileReceived | Response:
        held = self._target.transfer.held_bytes if self._target.transfer else 0
        total = self._file.size_bytes
        span = self._span or Span(0, total, total)
        if self._span is None and self._target.transfer is not None and held > 0:
            await discard(self._dependencies, self._upload, self._target.transfer, reason="sent_again")
            held = 0
        elif (span.asks and held < total) or (not span.asks and span.start != held):
            return self._incomplete(held)
        if held == 0 and total <= of_stream(total) and span.size_bytes == total:
            if self._target.transfer is not None:
                await discard(self._dependencies, self._upload, self._target.transfer, reason="sent_again")
            return await self._store_small()
        if self._target.transfer is not None and span.asks:
            return await self._finish(self._target.transfer)
        return await self._append(held, span)

    async def _finish(self, held: Transfer) -> schemas.FileReceived:
        """Every byte is held, and the request that should have made them one object has failed.

        It takes no fence: another request that finishes the file does the same.
        """
        transfer = msgspec.structs.replace(held, sha256=self._declared or held.sha256)
        whole = await Turn(self._dependencies, self._upload, self._file, transfer).finish()
        return self._received(whole.sha256, whole.arrived, whole.expected, None)

    async def _append(self, held: int, span: Span) -> schemas.FileReceived | Response:
        old = self._target.transfer if held else None
        body = DividedBody(self._request, span.size_bytes)
        async with self._dependencies.incoming.take(self._request.principal):
            transfer = await next_fence(self._dependencies, self._upload, self._file, old, self._declared)
            turn = Turn(self._dependencies, self._upload, self._file, transfer)
            await turn.append(body, span.size_bytes)
        if turn.transfer.held_bytes < self._file.size_bytes:
            return self._incomplete(turn.transfer.held_bytes, body.crc32)
        whole = await turn.finish()
        return self._received(whole.sha256, whole.arrived, whole.expected, body.crc32)

    async def _store_small(self) -> schemas.FileReceived | Response:
        upload, file = self._upload, self._file
        key = file_key(upload.project_id, upload.id, file.number, new_attempt())
        accepted = await accept(self._request, self._expected, NewObject(key))
        until = lifetime(self._dependencies.config)
        async with dropped_if_refused(self._dependencies, upload, key), connection(self._dependencies.pool) as tx:
            receipt = await files.record_object(tx, file, sha256=accepted.sha256, key=key, lifetime=until)
        if receipt.recorded:
            return self._received(accepted.sha256, receipt.arrived, receipt.expected, accepted.crc32)
        await drop(self._dependencies, upload, key, reason="repeated")
        now = await _target(self._request, file.path)
        if now.file.sha256 is None:
            raise Conflict(
                f"{file.path!r} is being sent otherwise at the same time; ask what is held, and go on there."
            )
        self._expected.require_same(accepted.sha256, now.file.sha256)
        return self._received(accepted.sha256, receipt.arrived, receipt.expected, accepted.crc32)

    async def _again(self) -> schemas.FileReceived:
        """The file is stored: the same bytes are fine, and none need be sent."""
        stored = self._file.sha256 or ""
        crc32: str | None = None
        if self._span is None:
            crc32 = (await accept(self._request, self._expected, StoredBefore(stored))).crc32
        elif self._expected.sha256 not in (None, stored):
            raise PartConflict(
                f"{self._expected.what} is stored already, with the SHA-256 {stored}. If that is wrong, abort the "
                "upload and start again.",
                retryable=False,
            )
        return await self._whole(stored, crc32)

    async def _whole(self, sha256: str | None, crc32: str | None = None) -> schemas.FileReceived:
        arrived, expected = await _counts(self._request, self._upload)
        return self._received(sha256, arrived, expected, crc32)

    async def _as_it_is(self) -> schemas.FileReceived | Response:
        """Another request has taken the file over: respond with how much of it is stored now."""
        now = await _target(self._request, self._file.path)
        if now.file.key is not None:
            return await self._whole(now.file.sha256)
        if now.stream is not None:
            return await self._whole(now.stream.sha256)
        return self._incomplete(now.transfer.held_bytes if now.transfer else 0)

    def _incomplete(self, held: int, crc32: str | None = None) -> Response:
        return responses.file_incomplete(self._file, held, crc32)

    def _received(self, sha256: str | None, arrived: int, expected: int, crc32: str | None) -> schemas.FileReceived:
        return responses.file_received(self._file, sha256, (arrived, expected), crc32)
