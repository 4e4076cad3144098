"""Copies that the object store makes by itself.

Source: Amazon S3 API reference, CopyObject and UploadPartCopy. Both may answer 200 with an error in the body, since
they begin to answer before they are done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import quote

from libs.blobs import listing, multipart
from libs.blobs.reading import head
from libs.blobs.transport import Refused, Transport
from libs.errors import Invalid, ObjectNotFound, Unavailable

log = logging.getLogger(__name__)

# S3 copies up to 5 GiB by one request; a server that really moves the bytes may say nothing until it is done, and what
# says nothing for a minute is given up. A multiple of the 64 MiB that JuiceFS keeps an object in: nothing is rewritten.
COPY_BYTES = 1024**3
PARTS_AT_ONCE = 4  # of one object


async def copy(source: Transport, source_key: str, target: Transport, key: str, size_bytes: int) -> None:
    """Copy an object within the server that both buckets are on.

    Raises: ObjectNotFound; Invalid if the source is not of `size_bytes`; Unavailable.
    """
    await _require_source(source, source_key, size_bytes)
    origin = {"x-amz-copy-source": quote(f"/{source.address.bucket}/{source_key}", safe="/~")}
    try:
        if size_bytes <= COPY_BYTES:
            await _request(target, key, {}, origin)
        else:
            await _in_parts(target, key, origin, size_bytes)
    except Refused as refused:
        if refused.status == 404 or refused.s3_code == "NoSuchKey":
            await _require_source(source, source_key, size_bytes)
        raise
    copied = await head(target, key)
    if copied is None or copied.size_bytes != size_bytes:
        raise Unavailable(f"{source_key} was replaced while object storage copied it; copy it again.")


async def _require_source(source: Transport, key: str, size_bytes: int) -> None:
    found = await head(source, key)
    if found is None:
        raise ObjectNotFound(f"The object store has no object {key}.")
    if found.size_bytes != size_bytes:
        raise Invalid(f"The stored object has {found.size_bytes} bytes, not {size_bytes}.")


async def _in_parts(target: Transport, key: str, origin: Mapping[str, str], size_bytes: int) -> None:
    """Copy by parts of one size (R2 wants that), some at a time; what fails leaves nothing behind."""
    part_bytes = max(COPY_BYTES, multipart.part_bytes(size_bytes))
    upload_id = await multipart.begin(target, key)
    slots = asyncio.Semaphore(PARTS_AT_ONCE)

    async def part(number: int) -> tuple[int, str]:
        first = (number - 1) * part_bytes
        last = min(first + part_bytes, size_bytes) - 1
        query = {"partNumber": str(number), "uploadId": upload_id}
        async with slots:
            wanted = {**origin, "x-amz-copy-source-range": f"bytes={first}-{last}"}
            return number, await _request(target, key, query, wanted)

    tasks = [asyncio.create_task(part(number)) for number in range(1, -(-size_bytes // part_bytes) + 1)]
    try:
        etags = await asyncio.gather(*tasks)
        await multipart.complete(target, key, upload_id, etags, size_bytes)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await _give_up(target, key, upload_id)
        raise


async def _give_up(target: Transport, key: str, upload_id: str) -> None:
    try:
        await multipart.abort(target, key, upload_id)
    except Unavailable as error:
        log.info("a multipart upload of %s stays for lifecycle: %s", key, error)


async def _request(target: Transport, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Have the store copy an object or a part, repeatedly after failures that may pass. Returns the entity tag.

    It takes one of the connections for bodies: small requests do not wait for copies.
    Raises: Unavailable.
    """

    async def attempt() -> str:
        async with target.open("PUT", key, query=query, signed=headers, pool=target.pools.uploads) as response:
            body = await response.read()
        if code := listing.error_code(body):
            raise Refused("PUT", key, response.status, code)
        if etag := listing.copied_etag(body):
            return etag
        raise Unavailable(f"Object storage does not copy objects of this size: it gave no entity tag for {key}.")

    return await target.repeatedly(attempt)
