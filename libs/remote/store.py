"""What is asked of a store that is not ours: what is in a folder, and ranges of it."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping

import aiohttp
import msgspec

from libs.remote.errors import SourceChanged, SourceRefused, SourceUnavailable
from libs.remote.location import Location
from libs.remote.transport import READ_BYTES, Answered, Transport, explain

log = logging.getLogger(__name__)

ATTEMPTS = 6  # in a row that brought no byte
BACKOFF_S = 0.1  # tripled each time: about 12 seconds in all


class RemoteObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the store, as it is listed."""

    key: str
    size_bytes: int
    etag: str  # without quotation marks


class Store(ABC):
    """A bucket or container, read with the credentials that it was made with."""

    def __init__(self, transport: Transport, location: Location, secret: str | None) -> None:
        """`secret`: the name of the credentials, for messages."""
        self._transport = transport
        self.location = location
        self._secret = secret

    @abstractmethod
    def objects(self) -> AsyncGenerator[RemoteObject, None]:
        """Yield what is below the location's prefix.

        Raises: SourceUnavailable; SourceRefused in its forms; EndpointNotAllowed.
        """

    @abstractmethod
    def _request(self, key: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The URL and the headers by which an object is read."""

    async def read(self, key: str, etag: str, start: int, length: int) -> bytes:
        """Read a range of one version of an object, which has to have it.

        A connection that breaks is opened again at the byte reached, for some seconds.
        Raises: SourceChanged if the object has another version now; SourceUnavailable; SourceRefused in its forms.
        """
        content = bytearray()
        failures = 0
        while len(content) < length:
            before = len(content)
            try:
                await self._append(content, key, etag, start + before, length - before)
            except SourceUnavailable as trouble:
                failures = 1 if len(content) > before else failures + 1
                if failures == ATTEMPTS:
                    raise
                log.info("import: %s Reading on at byte %d.", trouble, start + len(content))
                await asyncio.sleep(BACKOFF_S * 3 ** (failures - 1) * random.uniform(0.5, 1.5))  # noqa: S311
        return bytes(content)

    async def _append(self, content: bytearray, key: str, etag: str, start: int, length: int) -> None:
        """Add what one connection brings of a range."""
        conditions = {"Range": f"bytes={start}-{start + length - 1}", "If-Match": f'"{etag}"'}
        url, headers = self._request(key, conditions)
        try:
            async with self._transport.get(url, headers) as response:
                self._accept(response, key, etag, start, length)
                async for chunk in response.content.iter_chunked(READ_BYTES):
                    content += chunk
        except Answered as answered:
            explain(answered, where=self.location.where, what=repr(key), secret=self._secret)

    def _accept(self, response: aiohttp.ClientResponse, key: str, etag: str, start: int, length: int) -> None:
        """Check that the answer is the range asked for of the version asked for; not every store heeds If-Match."""
        if plain_etag(response.headers.get("ETag", "")) != etag:
            raise SourceChanged(f"{key!r} of {self.location.where} has changed in the source.")
        described = response.headers.get("Content-Range", "")
        if response.content_length != length or not described.startswith(f"bytes {start}-{start + length - 1}/"):
            raise SourceRefused(f"{self.location.endpoint} does not answer ranges of its objects.")


def plain_etag(text: str) -> str:
    """An entity tag without the marks around it."""
    return text.strip().removeprefix("W/").strip('"')
