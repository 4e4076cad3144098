"""An object written piece by piece, by a caller that does not know how large it will be."""

from __future__ import annotations

import asyncio
import logging
import mmap

from libs.blobs import multipart
from libs.blobs.multipart import MAX_PARTS, part_bytes
from libs.blobs.outgoing import Buffer
from libs.blobs.transport import Transport
from libs.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

PARTS_IN_FLIGHT = 2
ABORT_S = 5.0


class Writer:
    """Collects parts: one fills while others are in flight, so that the way to the store costs no throughput.

    One may always be in flight; up to PARTS_IN_FLIGHT are, as far as the budget that all writers share allows. What
    fits in one part is sent as a plain object at the end. Nothing is visible under the key before `close`.
    """

    def __init__(self, transport: Transport, key: str, size_bytes: int | None) -> None:
        self._transport = transport
        self._key = key
        self._declared = size_bytes
        self._part_bytes = part_bytes(size_bytes)
        self._filling: mmap.mmap | None = None
        self._filled = 0  # bytes of it
        self._spare: list[mmap.mmap] = []  # of parts that are stored
        self._upload_id: str | None = None
        self._parts = 0  # sent, or in flight
        self._flying: set[asyncio.Task[None]] = set()
        self._etags: list[tuple[int, str]] = []
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
            if self._filled == self._part_bytes:
                await self._launch()
            filling = self._filling = self._filling or self._empty_part()
            piece = view[: self._part_bytes - self._filled]
            filling[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            view = view[len(piece) :]

    async def close(self) -> None:
        """Make the object visible.

        Raises: Unavailable; Invalid if it is shorter than declared.
        """
        if self._declared is not None and self.size_bytes != self._declared:
            raise Invalid(f"The object ended after {self.size_bytes:,} bytes; {self._declared:,} were declared.")
        if self._upload_id is None:
            await self._transport.call("PUT", self._key, body=self._take_filled()[1])
            return
        await self._launch()
        while self._flying:
            await self._some_landed()
        await multipart.complete(self._transport, self._key, self._upload_id, self._etags, self.size_bytes)

    async def abort(self) -> None:
        """Give up what was sent; the store forgets the parts.

        Raises: nothing of the store's: a multipart upload that cannot be aborted now is lifecycle's to find.
        """
        for part in self._flying:
            part.cancel()
        if self._flying:
            await asyncio.wait(self._flying)
        for part in self._flying:
            if not part.cancelled():
                part.exception()  # another error is on its way already
        if self._upload_id is None:
            return
        try:
            async with asyncio.timeout(ABORT_S):
                await multipart.abort(self._transport, self._key, self._upload_id)
        except (Unavailable, TimeoutError) as trouble:
            log.warning("multipart upload of %s left behind: %s", self._key, trouble)

    async def _launch(self) -> None:
        """Send the full part, as soon as there is room for it in flight."""
        if self._upload_id is None:
            self._upload_id = await multipart.begin(self._transport, self._key)
        if self._parts == MAX_PARTS:
            raise Invalid(f"The object is larger than {MAX_PARTS:,} parts of {self._part_bytes:,} bytes.")
        shared_bytes = await self._room()
        self._parts += 1
        flying = asyncio.create_task(self._send(self._upload_id, self._parts, *self._take_filled()))
        flying.add_done_callback(lambda _: self._transport.parts_ahead.give_back(shared_bytes))
        self._flying.add(flying)

    def _empty_part(self) -> mmap.mmap:
        """Memory for one part: pages of its own, which go back to the system when the writer is done.

        From the heap it would not all go back: freed blocks of this size stay there for the next ones.
        """
        size = self._part_bytes if self._declared is None else min(self._part_bytes, self._declared)
        return self._spare.pop() if self._spare else mmap.mmap(-1, size)

    def _take_filled(self) -> tuple[mmap.mmap | None, memoryview]:
        """The part that is filled, and its bytes; the next one begins."""
        part, content = self._filling, memoryview(self._filling or b"")[: self._filled]
        self._filling, self._filled = None, 0
        return part, content

    async def _room(self) -> int:
        """Wait until one more part may be in flight; how much of the shared budget it has taken."""
        budget = self._transport.parts_ahead
        while self._flying:
            if len(self._flying) < PARTS_IN_FLIGHT and budget.take(self._part_bytes):
                return self._part_bytes
            await self._some_landed()
        return 0

    async def _send(self, upload_id: str, number: int, part: mmap.mmap | None, content: memoryview) -> None:
        etag = await multipart.put_part_bytes(self._transport, self._key, upload_id, number, content)
        self._etags.append((number, etag))
        if part is not None:
            self._spare.append(part)  # after an error something may still be reading it

    async def _some_landed(self) -> None:
        """Wait until a part is no longer in flight. Raises: what went wrong with it."""
        landed, _ = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
        self._flying -= landed
        errors = [error for part in landed if (error := part.exception()) is not None]
        if errors:
            raise errors[0]
