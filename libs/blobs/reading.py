"""Reads an object's bytes, over further connections when one breaks, from whichever tier has them.

An object that is moved is in both tiers before it leaves one (services/lifecycle), and stays for an hour where it came
to. So whoever looks in the hot tier, then in the cold one, and then again in the hot one, finds it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, Sequence
from email.utils import parsedate_to_datetime

import aiohttp

from libs.blobs.listing import ObjectInfo
from libs.blobs.pools import READ_BYTES
from libs.blobs.transport import ATTEMPTS, BACKOFF_S, Refused, Transport, may_pass
from libs.errors import ObjectNotFound, Unavailable

log = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")  # RFC 9110, section 14.4


async def head(transport: Transport, key: str) -> ObjectInfo | None:
    """Size and time of an object; None if there is none under the key.

    Raises: Unavailable.
    """
    try:
        headers = (await transport.call("HEAD", key)).headers
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    return ObjectInfo(
        key=key,
        size_bytes=int(headers["Content-Length"]),
        modified_at=parsedate_to_datetime(headers["Last-Modified"]),
    )


async def find(transports: Sequence[Transport], key: str) -> ObjectInfo | None:
    """As `head`, in the first of the tiers that has the object."""
    for transport in _looks(transports):
        if (found := await head(transport, key)) is not None:
            return found
    return None


async def ranged(
    transports: Sequence[Transport], key: str, start: int, length: int | None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes from `start`, `length` of them or up to the end of the object, from the tier that has it.

    A connection that breaks is opened again at the offset reached, as long as each attempt brings something or the
    trouble passes within seconds; never on another version of the object. One that was moved in the middle is read on
    in its other tier.
    Raises: ObjectNotFound; Unavailable, also where the object was replaced while it was being read.
    """
    reader = _Reader(transports, key, start, length)
    failures = 0
    while not reader.done:
        before = reader.offset
        try:
            async for chunk in reader.attempt():
                yield chunk
        except Unavailable as trouble:
            failures = 1 if reader.offset > before else failures + 1
            if isinstance(trouble, Replaced) or not may_pass(trouble) or failures == ATTEMPTS:
                raise
            log.info("object storage: %s Reading on at byte %d.", trouble, reader.offset)
            await asyncio.sleep(BACKOFF_S * 3 ** (failures - 1) * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load


def _looks(transports: Sequence[Transport]) -> Sequence[Transport]:
    """Where to look for an object, in this order, before it counts as missing."""
    return transports if len(transports) == 1 else (*transports, transports[0])


class Replaced(Unavailable):
    """Another object was stored under the key while it was being read; read it again."""


class _Reader:
    """The progress of one read over several connections."""

    def __init__(self, transports: Sequence[Transport], key: str, start: int, length: int | None) -> None:
        self.offset = start
        self.done = length == 0
        self._looks = _looks(transports)
        self._look = 0  # in which of them the object is, or is looked for
        self._key = key
        self._end = None if length is None else start + length  # exclusive; narrowed by the first answer
        self._small = length is not None and length <= READ_BYTES  # received at once, even if it is read slowly
        self._versions: dict[Transport, tuple[str, str]] = {}  # ETag and Last-Modified, which differ between tiers
        self._whole: str | None = None  # the size of the whole, which does not

    async def attempt(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of one connection; none where the object is to be looked for in another tier.

        Raises: ObjectNotFound; Unavailable (Refused).
        """
        transport = self._looks[self._look]
        pool = transport.pools.calls if self._small else transport.pools.downloads
        try:
            async with transport.open("GET", self._key, headers=self._headers(), pool=pool) as response:
                self._accept(transport, response)
                async for piece, _ in response.content.iter_chunks():  # as they arrive
                    self.offset += len(piece)
                    if piece:
                        yield piece
        except Refused as refused:
            if refused.status == 404 and refused.s3_code != "NoSuchBucket":
                self._look_elsewhere()
                return
            if refused.status != 416:  # 416: the object ends here
                raise
            self._end = self.offset
        if self._end is not None and self.offset < self._end:
            raise Unavailable(f"Object storage ended {self._key} at byte {self.offset} instead of {self._end}.")
        self.done = True

    def _look_elsewhere(self) -> None:
        """The next attempt is in the next tier. Raises: ObjectNotFound after the last one."""
        self._look += 1
        if self._look == len(self._looks):
            raise ObjectNotFound(f"The object store has no object {self._key}.")

    def _headers(self) -> dict[str, str]:
        if self.offset == 0 and self._end is None:
            return {}
        return {"Range": f"bytes={self.offset}-{'' if self._end is None else self._end - 1}"}

    def _accept(self, transport: Transport, response: aiohttp.ClientResponse) -> None:
        """Check that the answer is the requested range of the same version of the object.

        Some servers answer a range with 200 and Content-Range instead of 206.
        Raises: Unavailable.
        """
        described = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        length = response.content_length
        # All three, since entity tags of some servers do not distinguish versions.
        size = described[3] if described else str(length)
        version = (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        if self._whole not in (None, size) or self._versions.setdefault(transport, version) != version:
            raise Replaced(f"{self._key} was replaced while it was being read; read it again.")
        self._whole = size
        self._look = self._looks.index(transport)  # from here on, every tier is looked in again
        first = int(described[1]) if described else 0
        if length is None or first != self.offset or (described and int(described[2]) + 1 - first != length):
            raise Unavailable(f"Object storage did not answer the range asked for of {self._key}.")
        if self._end is not None and first + length > self._end:
            raise Unavailable(f"Object storage does not answer ranges of {self._key}.")
        self._end = first + length
