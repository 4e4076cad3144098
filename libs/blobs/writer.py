"""An object written piece by piece, by a caller that does not know how large it will be."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from libs.blobs import multipart
from libs.blobs.multipart import MAX_PARTS, part_bytes
from libs.blobs.outgoing import Buffer
from libs.blobs.transport import Transport
from libs.errors import Invalid, Unavailable
from libs.tasks import end

log = logging.getLogger(__name__)

PARTS_IN_FLIGHT = 2
ABORT_S = 5.0


class Writer:
    """Collects parts; holds at most three of them: PARTS_IN_FLIGHT are, while the next one fills.

    So a store that is far away does not hold the caller up. What fits in one part is sent as a plain object at the end.
    Nothing is visible under the key before `close`.
    """

    def __init__(self, transport: Transport, key: str, size_bytes: int | None) -> None:
        self._transport = transport
        self._key = key
        self._declared = size_bytes
        self._part_bytes = part_bytes(size_bytes)
        self._filling = bytearray()
        self._upload_id: str | None = None
        self._flying: deque[asyncio.Task[str]] = deque()  # in order of their numbers
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
        await self._land(but=0)
        await multipart.complete(self._transport, self._key, self._upload_id, self._etags, self.size_bytes)

    async def abort(self) -> None:
        """Give up what was sent; the store forgets the parts.

        Raises: nothing of the store's: a multipart upload that cannot be aborted now is lifecycle's to find.
        """
        await end(*self._flying)
        for part in self._flying:
            if not part.cancelled():
                part.exception()  # the first one was raised
        if self._upload_id is None:
            return
        try:
            async with asyncio.timeout(ABORT_S):
                await multipart.abort(self._transport, self._key, self._upload_id)
        except (Unavailable, TimeoutError) as trouble:
            log.warning("multipart upload of %s left behind: %s", self._key, trouble)

    async def _launch(self) -> None:
        """Send the full part, as soon as few enough are in flight."""
        await self._land(but=PARTS_IN_FLIGHT - 1)
        if self._upload_id is None:
            self._upload_id = await multipart.begin(self._transport, self._key)
        number = len(self._etags) + len(self._flying) + 1
        if number > MAX_PARTS:
            raise Invalid(f"The object is larger than {MAX_PARTS:,} parts of {self._part_bytes:,} bytes.")
        part, self._filling = self._filling, bytearray()
        sending = multipart.put_part_bytes(self._transport, self._key, self._upload_id, number, part)
        self._flying.append(asyncio.create_task(sending))

    async def _land(self, *, but: int) -> None:
        """Wait until no more than `but` parts are in flight. Raises: Unavailable, if one could not be stored."""
        while len(self._flying) > but:
            etag = await self._flying[0]
            self._flying.popleft()
            self._etags.append((len(self._etags) + 1, etag))
