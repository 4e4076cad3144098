"""Decompression without I/O and with bounded output: bytes are fed in and taken out slice by slice.

A decompression bomb costs no memory: what is not taken is not produced. `isal` inflates gzip two to three times as
fast as zlib; the length and CRC of each member are checked. `gzipheader` reads the headers.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from isal import igzip_lib

from libs.archives import gzipheader
from libs.archives.errors import BadArchive, refusal
from libs.archives.gzipheader import HeaderError
from libs.archives.limits import MIB, ArchiveLimits
from libs.archives.signatures import looks_like
from libs.contracts.formats import SIGNATURE_BYTES, Format

SLICE_BYTES = MIB  # at most so much comes out of one `take`
_PIECE_BYTES = 128 * 1024  # goes in at once; what is left of it behind a stream's end is copied, so not more
_FREE_STREAMS = 4096  # so many joined streams may be tiny; beyond, they must have ...
_MIN_STREAM_BYTES = 256  # ... this size on average, or starting streams would be all the work
_AGAIN = "Make the archive again, test it (`gzip -t` or `bzip2 -t`), and send the whole of it."


class Engine(Protocol):
    """The decompressor of one stream, for example `bz2.BZ2Decompressor` or `igzip_lib.IgzipDecompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Codec:
    """A compression format: how long the header of a stream is, and what decompresses the rest."""

    name: str
    missing: Callable[[bytes], int]  # how many more bytes a header has at least; raises HeaderError
    open: Callable[[bytes], Engine]  # given the complete header
    broken: type[Exception]  # what the engine raises at damaged content


class Stored:
    """Bytes that are not compressed, in slices."""

    def __init__(self) -> None:
        self._pending = memoryview(b"")

    @property
    def needs_input(self) -> bool:
        """Whether everything fed so far has been taken."""
        return not len(self._pending)

    def feed(self, chunk: bytes) -> None:
        """Pass the next bytes. Call only when `needs_input`."""
        self._pending = memoryview(chunk)

    def take(self) -> memoryview:
        """Return the next bytes, at most SLICE_BYTES."""
        slice_, self._pending = self._pending[:SLICE_BYTES], self._pending[SLICE_BYTES:]
        return slice_

    def close(self) -> None:
        """End the input."""


class Streams:
    """One or more streams of one codec, one after another, then zero padding; nothing else may follow."""

    def __init__(self, codec: Codec, limits: ArchiveLimits | None = None) -> None:
        self._codec = codec
        self._limits = limits or ArchiveLimits()
        self._input = b""
        self._at = 0  # how much of it is used
        self._start = bytearray()  # the header of the stream that begins, or what is there in its place
        self._wanted = 1  # how many more bytes the header has at least
        self._wrong: HeaderError | None = None
        self._engine: Engine | None = None
        self._padding = False
        self._streams = 0
        self._bytes_in = 0
        self._bytes_out = 0

    @property
    def needs_input(self) -> bool:
        """Whether more must be fed before `take` returns anything."""
        return self._at == len(self._input) and (self._engine is None or self._engine.needs_input)

    def feed(self, chunk: bytes) -> None:
        """Pass the next bytes. Call only when `needs_input`."""
        self._input = chunk
        self._at = 0

    def take(self) -> memoryview:
        """Return the next bytes, at most SLICE_BYTES; none if more must be fed first. Raises: BadArchive."""
        while not self.needs_input:
            if self._engine is None:
                self._begin()
            elif out := self._inflate(self._engine):
                return memoryview(out)
        return memoryview(b"")

    def close(self) -> None:
        """End the input. Raises: BadArchive if it ended too early."""
        if self._wrong:
            raise self._not_this()
        if self._engine is not None or self._start:
            found = f"the {self._codec.name} data ends too early."
            raise refusal(f"{self._codec.name}-truncated", found, _AGAIN, offset=self._bytes_in)

    def _begin(self) -> None:
        """Between streams: collect the next one's header, or skip padding."""
        if self._padding or (self._streams and not self._start and not self._input[self._at]):
            self._padding = True
            if any(self._move(_PIECE_BYTES)):
                raise self._garbage()
            return
        if self._wrong is None:
            self._read_header()
            return
        self._start += self._move(max(0, SIGNATURE_BYTES - len(self._start)))
        if len(self._start) >= SIGNATURE_BYTES:
            raise self._not_this()

    def _read_header(self) -> None:
        self._start += self._move(self._wanted)
        try:
            self._wanted = self._codec.missing(bytes(self._start))
        except HeaderError as error:
            if self._streams:
                raise self._garbage() from None
            self._wrong = error  # the next bytes show what it is instead
        else:
            if not self._wanted:
                self._open()

    def _open(self) -> None:
        self._engine = self._codec.open(bytes(self._start))
        self._start.clear()
        self._wanted = 1
        self._streams += 1
        if self._streams > _FREE_STREAMS and self._bytes_in < self._streams * _MIN_STREAM_BYTES:
            found = f"the {self._codec.name} data consists of too many tiny streams."
            raise refusal(f"{self._codec.name}-fragmented", found, "Compress the archive as one stream.")

    def _inflate(self, engine: Engine) -> bytes:
        piece = self._move(_PIECE_BYTES) if engine.needs_input else b""
        try:
            out = engine.decompress(piece, SLICE_BYTES)
        except self._codec.broken:
            found = f"the {self._codec.name} data is damaged: it contradicts its own structure or checksum."
            raise refusal(f"{self._codec.name}-damaged", found, _AGAIN) from None
        if engine.eof:
            self._give_back(len(engine.unused_data))
            self._engine = None
        self._bytes_out += len(out)
        limits = self._limits
        if self._bytes_out > limits.ratio_free_bytes and self._bytes_out > limits.max_ratio * self._bytes_in:
            found = f"the archive expands to more than {limits.max_ratio} times its size, as no weights do."
            raise refusal("archive-bomb", found, "Leave out files that are mostly zeros.", offset=self._bytes_in)
        return out

    def _move(self, count: int) -> bytes:
        piece = bytes(self._input[self._at : self._at + count])
        self._at += len(piece)
        self._bytes_in += len(piece)
        return piece

    def _give_back(self, count: int) -> None:
        self._at -= count
        self._bytes_in -= count

    def _not_this(self) -> BadArchive:
        found = f"the archive {self._wrong}; it looks like {looks_like(bytes(self._start))}."
        fix = "Name its format in archive_format, or make it again with `tar -czf` (gzip) or `tar -cjf` (bzip2)."
        return refusal(f"not-{self._codec.name}", found, fix, offset=0)

    def _garbage(self) -> BadArchive:
        found = f"after the end of the {self._codec.name} data there is something else."
        fix = "Send one archive, with nothing after it."
        return refusal(f"{self._codec.name}-garbage-after-end", found, fix)


_GZIP_ERROR = cast("type[Exception]", igzip_lib.IsalError)  # the stub has the wrong type


def _gzip_engine(header: bytes) -> Engine:
    engine: Engine = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR_VER)  # checks CRC and length
    return engine


def _bzip2_engine(header: bytes) -> Engine:
    engine = bz2.BZ2Decompressor()
    engine.decompress(header)
    return engine


def _bzip2_missing(start: bytes) -> int:
    """As `gzipheader.missing`: "BZh" and the block size, 1 to 9."""
    if not b"BZh".startswith(start[:3]) or start[3:4] not in b"123456789":
        raise HeaderError("does not begin like bzip2 data")
    return 4 - len(start)


CODECS: Mapping[Format, Codec | None] = {  # None: not compressed
    "tar": None,
    "tar.gz": Codec("gzip", gzipheader.missing, _gzip_engine, _GZIP_ERROR),
    "tar.bz2": Codec("bzip2", _bzip2_missing, _bzip2_engine, OSError),
}
