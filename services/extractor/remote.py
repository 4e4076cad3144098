"""Reads a file from another object store in order, ahead of the caller: what `parts` does for what was sent here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from libs.archives.errors import BadArchive, refusal
from libs.contracts import PartStream, RemoteSource
from libs.contracts.rules import SOURCE_CHANGED
from libs.errors import SlipwayError
from libs.remote import (
    Credentials,
    Endpoints,
    Location,
    SourceChanged,
    SourceMissing,
    SourceRefused,
    open_store,
)
from libs.remote.credentials import unseal
from libs.sealing import CannotUnseal, Keys
from libs.tasks import end
from services.extractor.config import ExtractorConfig

SLICE_BYTES = 4 * 1024 * 1024  # one request
SLICES_AHEAD = 4  # requested, or waiting to be written: 160 MB/s from a store with 100 ms of latency


class SourceClosed(SlipwayError):
    """The source cannot be read until somebody repairs that: credentials, a setting. Trying again soon cannot help."""


class RemoteFile:
    """Reads a file once, in order, by several requests at a time; the interface is that of `Parts`."""

    known = 1  # its one part is there
    idle_since: float | None = None  # it never waits for a client

    def __init__(self, stream: PartStream, source: RemoteSource, config: ExtractorConfig) -> None:
        self._stream = stream
        self._source = source
        self._config = config
        self.done = 0

    def give_way(self) -> None:
        """Does nothing: what is read is never waited for."""

    async def chunks(self, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield all bytes of the file from `start` on, at most SLICE_BYTES at a time.

        Raises: BadArchive if the file is no longer what was listed; SourceClosed; SourceUnavailable.
        """
        source = self._source
        location = Location(
            kind=source.kind,
            endpoint=source.endpoint,
            container=source.container,
            prefix="",
            region=source.region,
        )
        try:
            endpoints = Endpoints.parse(self._config.import_endpoints)
            async with open_store(endpoints, location, source.secret, self._credentials()) as store:
                ahead: deque[asyncio.Task[bytes]] = deque()
                at, size = start, self._stream.size_bytes
                try:
                    while at < size or ahead:
                        while at < size and len(ahead) < SLICES_AHEAD:
                            length = min(SLICE_BYTES, size - at)
                            ahead.append(asyncio.create_task(store.read(source.key, source.etag, at, length)))
                            at += length
                        yield await ahead.popleft()
                finally:
                    await _give_up(ahead)
        except (SourceChanged, SourceMissing) as gone:
            raise self._changed(gone) from None
        except SourceRefused as refused:
            raise SourceClosed(str(refused)) from None
        self.done = 1

    def _credentials(self) -> Credentials | None:
        """Raises: SourceClosed."""
        name, sealed = self._source.secret, self._source.credentials
        if name is None:
            return None
        if sealed is None:
            raise SourceClosed(f"The secret '{name}', with which the source is read, was deleted; make it again.")
        try:
            return unseal(Keys.parse(self._config.secrets_key), self._stream.project_id, name, sealed)
        except CannotUnseal as error:
            raise SourceClosed(f"The secret '{name}', with which the source is read, cannot be read. {error}") from None

    def _changed(self, error: SlipwayError) -> BadArchive:
        return refusal(
            SOURCE_CHANGED,
            f"the file was changed or removed in the source while it was imported. {error}",
            "Import the model again, once nobody writes to the source.",
            file=self._stream.path,
        )


async def _give_up(reads: deque[asyncio.Task[bytes]]) -> None:
    """Cancel reads whose results are not needed."""
    await end(*reads)
    for read in reads:
        if not read.cancelled():
            read.exception()  # the first one was raised
