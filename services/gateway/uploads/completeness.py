"""Whether what has been sent adds up to what was announced."""

from __future__ import annotations

from collections.abc import Sequence

from libs.db import Tx
from libs.errors import Conflict, PartSizeMismatch, PartsMissing
from services.gateway.uploads.ranges import missing_ranges
from services.gateway.uploads.store import files, parts, streams
from services.gateway.uploads.store.parts import StoredPart
from services.gateway.uploads.store.streams import Stream
from services.gateway.uploads.store.uploads import Upload

NAMED_AT_MOST = 20  # files or ranges of parts in one message


async def require_everything(tx: Tx, upload: Upload) -> list[Stream]:
    """Return the upload's streams, if all that was announced has been sent.

    Raises: PartsMissing, which names the missing parts or files.
    """
    all_streams = await streams.of_upload(tx, upload.id)
    if upload.kind == "archive":
        await _require_parts(tx, all_streams[0])
    else:
        await _require_files(tx, upload, all_streams)
    return all_streams


async def _require_parts(tx: Tx, archive: Stream) -> None:
    if archive.complete:
        return
    stored = [part.number for part in await parts.of_stream(tx, archive.id)]
    missing = missing_ranges(stored, archive.total_parts)
    named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in missing[:NAMED_AT_MOST])
    more = ", …" if len(missing) > NAMED_AT_MOST else ""
    raise PartsMissing(
        f"Parts {named}{more} of {archive.total_parts} (numbered from 0) have not been uploaded; send them, then "
        "complete the upload again.",
        details={"missing": missing},
        retryable=False,
    )


async def _require_files(tx: Tx, upload: Upload, all_streams: Sequence[Stream]) -> None:
    complete = {stream.number for stream in all_streams if stream.complete}
    missing = [
        file for file in await files.of_upload(tx, upload.id) if file.key is None and file.number not in complete
    ]
    if not missing:
        return
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


def cut_otherwise(path: str | None, count: int | None, *, not_in: int) -> Conflict:
    """The error for a part of a file that is being sent in another number of parts."""
    return Conflict(
        f"{path!r} is being sent in {count} parts, not in {not_in}; go on with {count}.",
        param="part_count",
        retryable=False,
    )


async def wrong_sum(tx: Tx, stream: Stream, part: StoredPart) -> PartSizeMismatch:
    """The error for a part with which those of a file have more or fewer bytes than announced."""
    stored = await streams.get(tx, stream.upload_id, stream.number)
    total = (stored.bytes_stored if stored else 0) + part.size_bytes
    return PartSizeMismatch(
        f"The parts of {stream.path!r} have {total} bytes together, but the manifest says {stream.size_bytes}. "
        f"Part {part.number} was not stored; send it with the right size, or abort the upload and start again.",
        retryable=False,
    )
