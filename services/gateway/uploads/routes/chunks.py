"""Chunks of one file in any order (`part_number`, `part_count`): parts of its S3 multipart upload where they are large.

S3 wants 5 MiB of every part but the last. The first chunk that comes decides, by its size: where the chunks are large
they become one object in place; else they are stored one by one and joined by the extractor.
"""

from __future__ import annotations

from functools import partial

from libs.blobs import MAX_PARTS, MIN_PART_BYTES, MultipartGone
from libs.contracts.keys import file_key, new_attempt
from libs.db import Tx, connection, transaction
from libs.errors import Conflict, Invalid, PartSizeMismatch, Unavailable
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import assembly
from services.gateway.uploads.assembly import WholeFile
from services.gateway.uploads.completeness import cut_otherwise
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.objects import discard
from services.gateway.uploads.part_sizes import equal_cut
from services.gateway.uploads.receiving import (
    Accepted,
    Expected,
    NewPart,
    StoredBefore,
    accept,
)
from services.gateway.uploads.routes.parts import PartTaken, take_part
from services.gateway.uploads.states import require_open
from services.gateway.uploads.store import chunks, files, streams, transfers, uploads
from services.gateway.uploads.store.files import FileTarget, UploadFile
from services.gateway.uploads.store.streams import Stream, stream_id
from services.gateway.uploads.store.transfers import Transfer, TransferPart
from services.gateway.uploads.store.uploads import Upload


async def take_chunk(request: Request[Dependencies], target: FileTarget, number: int, count: int) -> PartTaken:
    """Store one chunk of a file and record it; a chunk that is recorded already is only compared.

    Raises: Invalid; Conflict, where the file is sent otherwise; PartSizeMismatch; ChecksumMismatch; PartConflict.
    """
    upload, file, transfer, stream = target.upload, target.file, target.transfer, target.stream
    if number >= count:
        raise Invalid(f"'part_number' counts from 0 and must be below 'part_count' ({count}).", param="part_number")
    if count > file.size_bytes:
        raise Invalid(f"{file.path!r} has {file.size_bytes} bytes; it cannot be cut into {count}.", param="part_count")
    if file.key is not None or (stream is not None and stream.key is not None):
        raise Conflict(f"{file.path!r} is stored already; nothing of it need be sent.", retryable=False)
    if transfer is not None and transfer.part_count is None:
        raise Conflict(
            f"{file.path!r} is being sent as one stream; go on with Content-Range, or send it whole.", retryable=False
        )
    _require_same_cut(file, transfer.part_count if transfer else stream.total_parts if stream else count, count)
    expected = Expected(
        what=f"Part {number} of file {file.path!r}",
        size_bytes=None,
        max_bytes=file.size_bytes,
        checksum_header="X-Chunk-Checksum",
    )
    expected.require_headers(request)
    if transfer is None and stream is None:
        cut = equal_cut(request.http.content_length, number, count, file.size_bytes)
        if cut is not None:
            transfer = await _begin(request.dependencies, upload, file, count, cut)
    if transfer is not None:
        return await _take_large(request, upload, file, transfer, target.chunk, number, expected)
    if stream is not None:
        return await take_part(request, upload, stream, number, target.joined, expected)
    return await take_part(request, upload, _joined(file, count), number, None, expected, begins=file)


def _require_same_cut(file: UploadFile, cut: int | None, count: int) -> None:
    if cut != count:
        raise cut_otherwise(file.path, cut, not_in=count)


def _sent_otherwise(file: UploadFile) -> Conflict:
    return Conflict(f"{file.path!r} has just been sent otherwise; ask for its state and go on from there.")


async def _begin(dependencies: Dependencies, upload: Upload, file: UploadFile, count: int, cut: int) -> Transfer:
    """Begin a multipart upload for a file in chunks; of two first chunks, both get the one that was recorded first."""
    key = file_key(upload.project_id, upload.id, file.number, new_attempt())
    multipart_id = await dependencies.blobs.begin_multipart(key)
    async with transaction(dependencies.pool) as tx:
        await files.lock(tx, upload.id, file.number)  # the other way to send chunks is not begun meanwhile
        joined = await streams.get(tx, upload.id, file.number)
        begun = joined is None and await chunks.begin(
            tx,
            upload.id,
            file.number,
            key=key,
            multipart_id=multipart_id,
            part_count=count,
            part_bytes=cut,
            sha256=file.declared_sha256,
        )
        transfer = await transfers.get(tx, upload.id, file.number)
    if not begun:
        await dependencies.blobs.abort_multipart(key, multipart_id)
    if transfer is None or transfer.part_count is None:
        raise _sent_otherwise(file)
    _require_same_cut(file, transfer.part_count, count)
    return transfer


async def _take_large(
    request: Request[Dependencies],
    upload: Upload,
    file: UploadFile,
    transfer: Transfer,
    known: TransferPart | None,
    number: int,
    expected: Expected,
) -> PartTaken:
    dependencies = request.dependencies
    if known is not None and known.sha256 is not None:
        accepted = await accept(request, expected, StoredBefore(known.sha256))
        await _finish_if_whole(dependencies, upload, file, transfer)
        return PartTaken(accepted=accepted)
    accepted = await _accept_large(request, upload, transfer, number, expected)
    part = TransferPart(
        number=number,
        s3_number=accepted.s3_number,
        etag=accepted.etag,
        size_bytes=accepted.size_bytes,
        sha256=accepted.sha256,
    )
    async with transaction(dependencies.pool) as tx:
        added = await chunks.add(tx, transfer, part, file.size_bytes, lifetime(dependencies.config))
        if added.recorded and added.transfer is None:
            raise PartSizeMismatch(
                f"The parts of {file.path!r} would have more or fewer bytes together than the {file.size_bytes} of the "
                f"manifest. Part {number} was not stored; send it with the right size.",
                retryable=False,
            )
        if not added.recorded:
            await _why_not(tx, upload, transfer, part, expected)
    if await _finish_if_whole(dependencies, upload, file, added.transfer or transfer):
        return PartTaken(accepted=accepted)
    return PartTaken(accepted=accepted, counts=(added.arrived, added.expected))


async def _accept_large(
    request: Request[Dependencies], upload: Upload, transfer: Transfer, number: int, expected: Expected
) -> Accepted:
    """Take the chunk in as a part of the S3 upload, under an S3 part number that no other attempt has.

    Raises: Conflict, when they are used up, after which nothing of the file is held; as `take_chunk`.
    """
    size_bytes = request.http.content_length
    if size_bytes is None:
        raise Invalid("Send this chunk with Content-Length.", param="Content-Length")
    if number < (transfer.part_count or 1) - 1 and size_bytes < MIN_PART_BYTES:
        raise PartSizeMismatch(
            f"{expected.what} has {size_bytes} bytes; every part of this file but the last must have {MIN_PART_BYTES} "
            f"at least, and the first one had {transfer.part_bytes}.",
            retryable=False,
        )
    destination = NewPart(
        transfer.key,
        transfer.multipart_id or "",
        size_bytes,
        partial(_next_s3_number, request.dependencies, upload, transfer, number, expected),
    )
    try:
        return await accept(request, expected, destination)
    except MultipartGone:
        await discard(request.dependencies, upload, transfer, reason="multipart_gone")
        raise


async def _next_s3_number(
    dependencies: Dependencies, upload: Upload, transfer: Transfer, number: int, expected: Expected
) -> int:
    """The S3 part number of the next attempt at a chunk.

    S3 orders parts by number, and replaces a part of the same number: each chunk has a range of numbers, and each
    attempt one of its own.
    Raises: Conflict, when the range is used up, or the transfer has ended.
    """
    attempts = MAX_PARTS // (transfer.part_count or 1)
    async with connection(dependencies.pool) as tx:
        attempt = await chunks.next_attempt(tx, transfer, number)
    if attempt is None:
        raise _ended(expected)
    if attempt > attempts:
        await discard(dependencies, upload, transfer, reason="too_many_attempts")
        raise Conflict(
            f"{expected.what} was begun {attempts} times, and cannot be again. Nothing of the file is kept; send it "
            "again, in fewer parts or as one stream with Content-Range.",
            retryable=False,
        )
    return number * attempts + attempt


def _ended(expected: Expected) -> Conflict:
    return Conflict(f"{expected.what} belongs to an attempt that has ended; ask for the file's state.")


async def _why_not(tx: Tx, upload: Upload, transfer: Transfer, part: TransferPart, expected: Expected) -> None:
    """Raises: why a chunk was not recorded, unless the same one was."""
    known = await chunks.get(tx, transfer, part.number)
    if known is None:
        require_open(await uploads.get(tx, upload.project_id, upload.id))
        raise _ended(expected)
    expected.require_same(part.sha256 or "", known.sha256 or "")


async def _finish_if_whole(dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer) -> bool:
    whole = transfer.held_bytes == file.size_bytes and transfer.parts_stored == transfer.part_count
    if whole:
        await finish(dependencies, upload, file, transfer)
    return whole


async def finish(dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer) -> WholeFile | None:
    """Make one object of the stored chunks, for the extractor to hash; None if another request did.

    Emits: UploadOpened. Raises: Unavailable.
    """
    async with connection(dependencies.pool) as tx:
        parts = await transfers.parts(tx, transfer)
    if not parts:
        return None
    try:
        etags = [(part.s3_number, part.etag) for part in parts]
        if not await assembly.join(dependencies, transfer, etags, file.size_bytes):
            return None
    except MultipartGone as gone:
        await discard(dependencies, upload, transfer, reason="multipart_gone")
        raise Unavailable(f"The parts of {file.path!r} were lost; send them again.") from gone
    return await assembly.record(dependencies, upload, file, transfer, None)


def _joined(file: UploadFile, count: int) -> Stream:
    """A file whose chunks the extractor joins, before the first of them is recorded."""
    return Stream(
        id=stream_id(file.upload_id, file.number, file.refusals),
        upload_id=file.upload_id,
        number=file.number,
        format="raw",
        path=file.path,
        size_bytes=file.size_bytes,
        total_parts=count,
        sha256=file.declared_sha256,
        unpacked=False,
        parts_stored=0,
        bytes_stored=0,
        parts_done=0,
        members=0,
        bytes_out=0,
        stripped_prefix=None,
        dropped=[],
        deadline_at=None,
        key=None,
        waiting_for=None,
    )
