"""Multipart uploads of S3: objects that consist of parts, which the store keeps between processes.

Source: Amazon S3 API reference, CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, and
"Amazon S3 multipart upload limits".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Sequence
from contextlib import aclosing

from libs.blobs import listing
from libs.blobs.listing import MultipartInfo
from libs.blobs.outgoing import SLICE_BYTES, Buffer, collected
from libs.blobs.reading import head
from libs.blobs.transport import Answer, Refused, Transport
from libs.errors import Unavailable

log = logging.getLogger(__name__)

MIB = 1024 * 1024
MIN_PART_BYTES = 5 * MIB  # of every part but the last
MAX_PART_BYTES = 5 * 1024 * MIB
MAX_PARTS = 10_000
# JuiceFS keeps an object in chunks of 64 MiB, and writes a chunk of five or more parts again when it is first read.
PART_BYTES = 16 * MIB
LOOK_AFTER_S = (0.0, 0.1, 0.3, 0.9)  # for an object that another attempt may be completing


class MultipartGone(Unavailable):
    """The object store does not know this multipart upload: it was completed, aborted, expired or lost."""


def part_bytes(size_bytes: int | None) -> int:
    """The size of every part but the last (R2 wants them equal): 16 MiB, or what 10,000 parts of a larger object take.

    An object whose size is not known has at most 156 GiB.
    """
    if size_bytes is None:
        return PART_BYTES
    smallest = -(-size_bytes // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // MIB) * MIB)


async def begin(transport: Transport, key: str) -> str:
    """Begin a multipart upload of the object `key`. Returns its id.

    Raises: Unavailable.
    """
    return listing.upload_id((await transport.call("POST", key, {"uploads": ""})).body)


async def put_part(
    transport: Transport, key: str, upload_id: str, number: int, body: AsyncIterable[Buffer], size_bytes: int
) -> str:
    """Store part `number` (from 1) while it arrives, replacing an earlier one. Returns its entity tag.

    Raises: MultipartGone; Unavailable; Invalid if the body is not of `size_bytes`; whatever the body raises.
    """
    if size_bytes <= SLICE_BYTES:
        return await put_part_bytes(transport, key, upload_id, number, await collected(body, size_bytes))
    try:
        return _etag(key, await transport.stream("PUT", key, _part(upload_id, number), body, size_bytes))
    except Refused as refused:
        raise _named(refused, key) from None


async def put_part_bytes(transport: Transport, key: str, upload_id: str, number: int, content: Buffer) -> str:
    """Store part `number` (from 1), retrying as `Transport.call` does. Returns its entity tag.

    Raises: MultipartGone; Unavailable.
    """
    try:
        return _etag(key, await transport.call("PUT", key, _part(upload_id, number), content))
    except Refused as refused:
        raise _named(refused, key) from None


async def complete(
    transport: Transport, key: str, upload_id: str, etags: Sequence[tuple[int, str]], size_bytes: int
) -> None:
    """Make the object of these parts, (number, entity tag) in any order, visible; safe to repeat, one at a time.

    An upload that the store refuses to complete, beside an object of `size_bytes` under the key, was completed by
    an earlier attempt. Two at the same time are the caller's to prevent: JuiceFS may lose the object then.
    Raises: MultipartGone; Unavailable; ValueError for part numbers that S3 does not allow.
    """
    parts = sorted(etags)
    numbers = [number for number, _ in parts]
    if not numbers or numbers[0] < 1 or numbers[-1] > MAX_PARTS or len(set(numbers)) < len(numbers):
        raise ValueError(f"a multipart upload has parts from 1 to {MAX_PARTS:,}, each once")
    body = listing.completion(parts)

    async def attempt() -> None:
        answer = await transport.once("POST", key, {"uploadId": upload_id}, body)
        if code := listing.error_code(answer.body):  # S3 answers 200 first, and may fail later
            raise Refused("POST", key, answer.status, code)

    try:
        await transport.repeatedly(attempt)
    except Refused as refused:
        if not await _completed_otherwise(transport, key, size_bytes):
            raise _named(refused, key) from None


async def _completed_otherwise(transport: Transport, key: str, size_bytes: int) -> bool:
    """Whether another attempt has completed the object; a store may forget the upload before it shows the object."""
    for pause_s in LOOK_AFTER_S:
        await asyncio.sleep(pause_s)
        if (stored := await head(transport, key)) is not None:
            return stored.size_bytes == size_bytes
    return False


async def abort(transport: Transport, key: str, upload_id: str) -> None:
    """Discard a multipart upload and its parts. Does nothing if the store does not know it.

    Raises: Unavailable.
    """
    try:
        await transport.call("DELETE", key, {"uploadId": upload_id})
    except Refused as refused:
        if refused.status != 404:
            raise


async def listed(transport: Transport, prefix: str) -> AsyncGenerator[MultipartInfo, None]:
    """Yield every multipart upload under the prefix that is under way; none if the server does not list them.

    Raises: Unavailable.
    """
    query = {"uploads": "", "prefix": prefix}
    while True:
        try:
            answer = await transport.call("GET", None, query)
        except Refused as refused:
            if refused.s3_code == "NoSuchUpload":  # the answer of some servers when there are none
                return
            if refused.status in (400, 403, 405, 501):
                log.debug("this object store does not let us list multipart uploads; it has to expire them itself")
                return
            raise
        found, markers = listing.multiparts(answer.body)
        for each in found:
            if each.key.startswith(prefix):  # nanio ignores the prefix
                yield each
        if markers is None:
            return
        query["key-marker"], query["upload-id-marker"] = markers


async def abort_all(transport: Transport, prefix: str, *, only: Collection[str] | None = None) -> int:
    """Discard every multipart upload under the prefix, or of the objects `only`.

    Returns how many; 0 if the server does not list them. Raises: Unavailable.
    """
    aborted = 0
    async with aclosing(listed(transport, prefix)) as found:
        async for each in found:
            if only is None or each.key in only:
                await abort(transport, each.key, each.upload_id)
                aborted += 1
    return aborted


def _part(upload_id: str, number: int) -> dict[str, str]:
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"a part's number is from 1 to {MAX_PARTS:,}, not {number}")
    return {"partNumber": str(number), "uploadId": upload_id}


def _etag(key: str, answer: Answer) -> str:
    """The entity tag with its quotation marks: some servers compare it with them when the upload is completed."""
    etag = answer.headers.get("ETag")
    if not etag:
        raise Unavailable(f"Object storage gave no entity tag for a part of {key}.")
    return etag


def _unknown(refused: Refused) -> bool:
    return refused.s3_code == "NoSuchUpload" or (refused.status == 404 and refused.s3_code != "NoSuchBucket")


def _named(refused: Refused, key: str) -> Unavailable:
    return MultipartGone(f"Object storage knows no such multipart upload of {key}.") if _unknown(refused) else refused
