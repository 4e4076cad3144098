"""Unpacks an archive, or joins the parts of one file, without I/O: decompression, tar and limits together.

    unpacker.feed(chunk)
    while not unpacker.needs_input:
        handle(unpacker.step())
    …
    handle(unpacker.close())

Each step does a bounded amount of work and returns at most 2 MiB of content, so that it can run in a worker thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from libs.archives.decompress import CODECS, Stored, Streams
from libs.archives.errors import BadArchive, refusal
from libs.archives.limits import MIB, ArchiveLimits
from libs.archives.tar import Content, MemberEnded, MemberEvent, MemberStarted, TarCheckpoint, TarReader
from libs.contracts import Format
from libs.contracts.rules import ARCHIVE_CHECKSUM

STEP_BYTES = MIB  # a step ends after so much content, or one slice later


class Reader(Protocol):
    """Turns decompressed bytes into events."""

    def feed(self, chunk: memoryview, /) -> list[MemberEvent]: ...
    def close(self) -> list[MemberEvent]: ...


class FileReader:
    """Turns the bytes of one file, whose path and size are known, into events."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self._started = MemberStarted(path, size_bytes)
        self._left = size_bytes
        self._begun = False

    def feed(self, chunk: memoryview) -> list[MemberEvent]:
        """Return the bytes as events. Raises: BadArchive if there are more than announced."""
        self._left -= len(chunk)
        if self._left < 0:
            raise self._wrong_size("more")
        return [*self._begin(), Content(chunk)]

    def close(self) -> list[MemberEvent]:
        """End the file. Raises: BadArchive if there were fewer bytes than announced."""
        if self._left:
            raise self._wrong_size("fewer")
        return [*self._begin(), MemberEnded()]

    def _begin(self) -> list[MemberEvent]:
        begun, self._begun = self._begun, True
        return [] if begun else [self._started]

    def _wrong_size(self, comparison: str) -> BadArchive:
        found = f"its parts have {comparison} bytes than the {self._started.size_bytes} that were announced."
        return refusal("file-wrong-size", found, "Send the file again.", file=self._started.path)


class Unpacker:
    """Takes the bytes of an upload, returns the events of its files; raises BadArchive at every fault."""

    def __init__(self, source: Stored | Streams, reader: Reader, *, sha256: str | None = None) -> None:
        """`sha256`: the digest that the client declared of all that is fed; None if it declared none."""
        self._source = source
        self._reader = reader
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    @property
    def needs_input(self) -> bool:
        """Whether more must be fed before the next step."""
        return self._source.needs_input

    def feed(self, chunk: bytes) -> None:
        """Pass the next bytes. Call only when `needs_input`."""
        if self._sha256 is not None:
            self._digest.update(chunk)
        self._source.feed(chunk)

    def step(self) -> list[MemberEvent]:
        """Return the next events of the bytes fed so far, possibly none. Raises: BadArchive."""
        events: list[MemberEvent] = []
        taken = 0
        while taken < STEP_BYTES and not self._source.needs_input:
            slice_ = self._source.take()
            taken += len(slice_)
            events += self._reader.feed(slice_)
        return events

    def close(self) -> list[MemberEvent]:
        """End the input. Call only when `needs_input`. Raises: BadArchive if bytes are missing, or not as declared."""
        self._source.close()
        events = self._reader.close()
        if self._sha256 not in (None, self._digest.hexdigest()):
            found = f"the SHA-256 of what was sent is {self._digest.hexdigest()}, not {self._sha256} as declared."
            raise refusal(ARCHIVE_CHECKSUM, found, "Send it again; compare the file's checksum before.")
        return events


def unpack_archive(
    format_: Format, limits: ArchiveLimits, *, size_bytes: int | None = None, sha256: str | None = None
) -> Unpacker:
    """Return the unpacker of an archive. With `size_bytes`, a plain tar that is cut short is refused early."""
    codec = CODECS[format_]
    if codec is None:
        return Unpacker(Stored(), TarReader(limits, size_bytes=size_bytes), sha256=sha256)
    return Unpacker(Streams(codec, limits), TarReader(limits), sha256=sha256)


def resume_tar(limits: ArchiveLimits, checkpoint: TarCheckpoint, paths: Iterable[str], *, size_bytes: int) -> Unpacker:
    """Return the unpacker of the rest of a plain tar archive of `size_bytes`; feed it from `checkpoint.next_at` on.

    `paths` are those of the files before. The digest of the whole cannot be verified: SHA-256 cannot be resumed.
    """
    reader = TarReader(limits, size_bytes=size_bytes)
    reader.resume(checkpoint, paths)
    return Unpacker(Stored(), reader)


def join_parts(path: str, size_bytes: int) -> Unpacker:
    """Return the unpacker of one file that was sent in parts, which only joins them."""
    return Unpacker(Stored(), FileReader(path, size_bytes))
