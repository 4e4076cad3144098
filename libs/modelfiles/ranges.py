"""How a reader asks for the few ranges of a large file that it needs, without I/O of its own.

A reader is a generator: it yields the range of bytes that it needs, is sent those bytes, and returns what it read. Its
driver fetches them from storage, from a file or from memory, and sends what exists: fewer bytes mean that the file ends
there.
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
