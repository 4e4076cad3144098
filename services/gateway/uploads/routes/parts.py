"""Parts of a stream that the extractor unpacks: of an archive, or of one file where its chunks are small.

Each attempt is stored under a key of its own, and counts only by the transaction that records it: of two racing
requests for the same part one is recorded, and the object of the other is dropped.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from libs.contracts.keys import new_attempt, part_key
from libs.db import connection, transaction
from libs.errors import Conflict, Invalid
from libs.outbox import emit
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import responses, schemas, transitions
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.objects import drop, dropped_if_refused
from services.gateway.uploads.receiving import (
    Accepted,
    Expected,
    NewObject,
    StoredBefore,
    accept,
)
from services.gateway.uploads.states import require_open
from services.gateway.uploads.store import parts, uploads
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.parts import StoredPart
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.uploads import Upload


class PartTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A part that counts."""

    accepted: Accepted
    stream: Stream | None = None  # that it is of
    counts: tuple[int, int] | None = None  # of the upload's files, where they were counted on the way


async def receive_part(request: Request[Dependencies]) -> schemas.PartStored:
    """One part of an archive, in any order, in parallel; repeating it is fine.

    Emits: UploadOpened, UploadPartStored.
    Raises: UploadNotFound; the reason, if the upload is not open; PartSizeMismatch; ChecksumMismatch; PartConflict.
    """
    number: int = request.query.part_number
    async with connection(request.dependencies.pool) as tx:
        target = await parts.target(tx, request.principal.project_id, request.params["upload_id"], number)
    upload, archive = target.upload, target.archive
    if number >= archive.total_parts:
        raise Invalid(
            f"'part_number' counts from 0 and must be below {archive.total_parts}; got {number}.",
            param="part_number",
        )
    size_bytes = min(upload.chunk_size_bytes, archive.size_bytes - number * upload.chunk_size_bytes)
    expected = Expected(
        what=f"Part {number}", size_bytes=size_bytes, max_bytes=size_bytes, checksum_header="X-Chunk-Checksum"
    )
    taken = await take_part(request, upload, archive, number, target.part, expected)
    return responses.part_stored(upload, taken.stream or archive, number, taken.accepted)


async def take_part(
    request: Request[Dependencies],
    upload: Upload,
    stream: Stream,
    number: int,
    known: StoredPart | None,
    expected: Expected,
    begins: UploadFile | None = None,
) -> PartTaken:
    """Store one part of a stream and record it; a part that is recorded already is only compared.

    begins: the file, as it was looked up, of a `stream` that has no row yet.
    Emits: UploadOpened with the first part of a stream, UploadPartStored with every other.
    Raises: as `receive_part`.
    """
    if known is not None:
        return PartTaken(accepted=await accept(request, expected, StoredBefore(known.sha256)), stream=stream)
    dependencies, attempt = request.dependencies, new_attempt()
    key = part_key(upload.project_id, upload.id, stream.number, number, attempt)
    accepted = await accept(request, expected, NewObject(key))
    part = StoredPart(number=number, attempt=attempt, size_bytes=accepted.size_bytes, sha256=accepted.sha256)
    now = datetime.now(UTC)
    async with dropped_if_refused(dependencies, upload, key), transaction(dependencies.pool) as tx:
        added, events = await transitions.store_part(
            tx,
            upload,
            stream,
            part,
            begins=begins,
            at=now,
            lifetime=lifetime(dependencies.config),
        )
        await emit(tx, events)
    if not added.recorded:
        await drop(dependencies, upload, key, reason="repeated")
        await _require_recorded(dependencies, upload, stream, part, expected)
        return PartTaken(accepted=accepted, stream=stream)
    return PartTaken(accepted=accepted, stream=added.stream, counts=(added.arrived, added.expected))


async def _require_recorded(
    dependencies: Dependencies, upload: Upload, stream: Stream, part: StoredPart, expected: Expected
) -> None:
    """Raises: why a part was not recorded, unless the same bytes were by another request."""
    async with connection(dependencies.pool) as tx:
        recorded = await parts.get(tx, stream.id, part.number)
        now = await uploads.get(tx, upload.project_id, upload.id)
    if recorded is None:
        require_open(now)
        raise Conflict(
            f"{expected.what} does not count: those beside it were refused meanwhile, or the file was begun otherwise; "
            "ask for its state and go on from there."
        )
    expected.require_same(part.sha256, recorded.sha256)
