"""Reading a large file by the few ranges that matter, without doing the I/O here.

A reader is a generator: it yields the range of bytes it wants, is sent those bytes, and returns what it read. Whoever
drives it fetches from storage, from a file or from memory. Bytes past the end of the file are simply not there: a
driver sends what exists, so a short answer means a short file.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Range(NamedTuple):
    """Bytes `start` to `start + length` of a file."""

    start: int
    length: int


Reader = Generator[Range, bytes, T]
