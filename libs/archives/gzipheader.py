"""The header of a gzip member, collected in pieces of any size. Source: RFC 1952, section 2.3.

Read here because `isal` 1.9 fails where a header with a name, comment or checksum comes in several pieces.
"""

from __future__ import annotations

import zlib

MAX_TEXT_BYTES = 4096  # of name and comment together

_MAGIC = b"\x1f\x8b\x08"
_FIXED = 10
_HAS_CRC, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0


class HeaderError(ValueError):
    """The bytes are no such header; the message says why."""


def missing(start: bytes) -> int:
    """Return how many more bytes the gzip header that begins with `start` has at least; 0 if it is complete.

    Raises: HeaderError.
    """
    if not _MAGIC.startswith(start[: len(_MAGIC)]):
        raise HeaderError("does not begin like gzip data")
    if len(start) < _FIXED:
        return _FIXED - len(start)
    flags = start[3]
    if flags & _RESERVED:
        raise HeaderError("sets reserved flags in its gzip header")
    end = _FIXED
    if flags & _HAS_EXTRA:
        end = _FIXED + 2
        if len(start) >= end:
            end += int.from_bytes(start[_FIXED:end], "little")
        if len(start) < end:
            return end - len(start)
    texts_at = end
    for flag in (_HAS_NAME, _HAS_COMMENT):
        if flags & flag:
            end = start.find(b"\0", end) + 1
            if not end and len(start) - texts_at > MAX_TEXT_BYTES:
                raise HeaderError(f"has more than {MAX_TEXT_BYTES} bytes of name and comment in its gzip header")
            if not end:
                return 1
    return _missing_checksum(start, end) if flags & _HAS_CRC else 0


def _missing_checksum(start: bytes, at: int) -> int:
    if len(start) < at + 2:
        return at + 2 - len(start)
    if zlib.crc32(start[:at]) & 0xFFFF != int.from_bytes(start[at : at + 2], "little"):
        raise HeaderError("has a wrong checksum in its gzip header")
    return 0
