"""An object written piece by piece, by a caller that does not know how large it will be."""

from __future__ import annotations

import asyncio
import logging

from libs.blobs import listing
from libs.blobs.outgoing import Buffer
from libs.blobs.reading import head
from libs.blobs.transport import Refused, Transport
from libs.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
MAX_PARTS = 10_000  # S3's limit
ABORT_S = 5.0


def part_bytes(size_bytes: int | None) -> int:
    """The size of every part but the last (R2 wants them equal): 8 MiB, or what 10,000 parts of a larger object take.

    A size that is not known gets 16 MiB, that is at most 156 GiB.
    """
    if size_bytes is None:
        return 2 * PART_BYTES
    smallest = -(-size_bytes // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // MIB) * MIB)


class Writer:
    """Collects parts; holds at most two of them: one is in flight while the next one fills.

    What fits in one part is sent as a plain object at the end. Parts go in ascending order, as `rclone` wants them.
    Nothing is visible under the key before `close`.
    """

    def __init__(self, transport: Transport, key: str, size_bytes: int | None) -> None:
        self._transport = transport
        self._key = key
        self._declared = size_bytes
        self._part_bytes = part_bytes(size_bytes)
        self._filling = bytearray()
        self._upload_id: str | None = None
        self._flying: asyncio.Task[str] | None = None
        self._etags: list[str] = []
        self.size_bytes = 0  # written so far

    async def write(self, chunk: Buffer) -> None:
        """Append; copies what it keeps, so that the caller may reuse its buffer.

        Raises: Unavailable; Invalid beyond the declared size.
        """
        view = memoryview(chunk).cast("B")
        self.size_bytes += len(view)
        if self._declared is not None and self.size_bytes > self._declared:
            raise Invalid(f"The object is longer than the {self._declared:,} bytes that were declared.")
        while len(view) > 0:
            if len(self._filling) == self._part_bytes:
                await self._launch()
            room = self._part_bytes - len(self._filling)
            self._filling += view[:room]
            view = view[room:]

    async def close(self) -> None:
        """Make the object visible.

        Raises: Unavailable; Invalid if it is shorter than declared.
        """
        if self._declared is not None and self.size_bytes != self._declared:
            raise Invalid(f"The object ended after {self.size_bytes:,} bytes; {self._declared:,} were declared.")
        if self._upload_id is None:
            await self._transport.call("PUT", self._key, body=self._filling)
            return
        await self._launch()
        await self._landed()
        await self._complete(self._upload_id)

    async def abort(self) -> None:
        """Give up what was sent; the store forgets the parts.

        Raises: nothing of the store's: a multipart upload that cannot be aborted now is lifecycle's to find.
        """
        if self._flying is not None:
            self._flying.cancel()
            await asyncio.wait([self._flying])
        if self._upload_id is None:
            return
        try:
            async with asyncio.timeout(ABORT_S):
                await abort(self._transport, self._key, self._upload_id)
        except (Unavailable, TimeoutError) as trouble:
            log.warning("multipart upload of %s left behind: %s", self._key, trouble)

    async def _launch(self) -> None:
        """Send the full part, as soon as the one before has landed."""
        await self._landed()
        if self._upload_id is None:
            self._upload_id = await create(self._transport, self._key)
        if len(self._etags) == MAX_PARTS:
            raise Invalid(f"The object is larger than {MAX_PARTS:,} parts of {self._part_bytes:,} bytes.")
        part, self._filling = self._filling, bytearray()
        query = {"partNumber": str(len(self._etags) + 1), "uploadId": self._upload_id}
        self._flying = asyncio.create_task(self._send(query, part))

    async def _send(self, query: dict[str, str], part: bytearray) -> str:
        return (await self._transport.call("PUT", self._key, query, part)).headers["ETag"]

    async def _landed(self) -> None:
        if self._flying is not None:
            self._etags.append(await self._flying)
            self._flying = None

    async def _complete(self, upload_id: str) -> None:
        body = listing.completion(self._etags)
        asked = False

        async def attempt() -> None:
            nonlocal asked
            asked_before, asked = asked, True
            try:
                answer = await self._transport.once("POST", self._key, {"uploadId": upload_id}, body)
            except Refused as refused:
                # An earlier attempt may have succeeded and only its answer been lost.
                if asked_before and refused.s3_code == "NoSuchUpload" and await self._is_there():
                    return
                raise
            if code := listing.error_code(answer.body):  # S3 may answer 200 first and fail later
                raise Unavailable(f"Object storage could not complete {self._key} ({code}).")

        await self._transport.repeatedly(attempt)

    async def _is_there(self) -> bool:
        stored = await head(self._transport, self._key)
        return stored is not None and stored.size_bytes == self.size_bytes


async def create(transport: Transport, key: str) -> str:
    """Begin a multipart upload.

    Raises: Unavailable.
    """
    return listing.upload_id((await transport.call("POST", key, {"uploads": ""})).body)


async def abort(transport: Transport, key: str, upload_id: str) -> None:
    """Let the store forget a multipart upload; one that it does not know is fine.

    Raises: Unavailable.
    """
    try:
        await transport.call("DELETE", key, {"uploadId": upload_id})
    except Refused as refused:
        if refused.status != 404:
            raise
