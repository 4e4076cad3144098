"""Reads the directory at the end of a zip file, and single members by range.

Source: PKWARE APPNOTE.TXT 4.3. What does not change what a reader gets (CRC, descriptive flags) is left to the
caller, since readers check different things; what two readers could understand differently is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from libs.modelfiles.ranges import Range, Reader

LOCAL_MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 200_000
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024

_END = struct.Struct("<4s4H2LH")  # signature, disks, entries here and in all, size and offset of directory, comment
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_MAGIC, _END64_LOCATOR_MAGIC, _END64_MAGIC, _ENTRY_MAGIC = (
    b"PK\x05\x06",
    b"PK\x06\x07",
    b"PK\x06\x06",
    b"PK\x01\x02",
)
_TAIL_BYTES = 65_535 + _END.size + _END64_LOCATOR.size + _END64.size
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1


class Member(msgspec.Struct, frozen=True):
    """One entry of the directory."""

    name: str
    offset: int  # of its local header, from the start of the file
    packed_bytes: int
    size_bytes: int
    crc: int
    method: int
    encrypted: bool

    @property
    def stored(self) -> bool:
        return self.method == _STORED


class BrokenZip(ValueError):
    """The file is a zip archive that cannot be read; the message says why."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The file is a zip archive, but {what}.")


def read_directory(size_bytes: int) -> Reader[list[Member] | None]:
    """Return the members of the zip file of `size_bytes`, in the directory's order; None if it is no zip file.

    A zip file is recognised by its end, also if other bytes come before it.
    Raises: BrokenZip, if the directory is broken or beyond the limits.
    """
    tail_start = max(0, size_bytes - _TAIL_BYTES)
    tail = yield Range(tail_start, size_bytes - tail_start)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or at + _END.size > len(tail):
        return None
    _, _, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at  # the directory ends here
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and tail.startswith(_END64_LOCATOR_MAGIC, locator):
        _, _, end64, _ = _END64_LOCATOR.unpack_from(tail, locator)
        record = yield Range(end64, _END64.size)
        if len(record) < _END64.size or not record.startswith(_END64_MAGIC):
            raise BrokenZip("its zip64 end record is not where the locator says")
        count, length, offset = _END64.unpack(record)[7:]
        end = end64
    shift = end - length - offset  # bytes put before the archive, as Python's zipfile reckons them
    if shift < 0:
        raise BrokenZip("its directory does not fit into it")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise BrokenZip(f"its directory claims {count:,} members in {length:,} bytes, beyond what is read")
    directory = yield Range(offset + shift, length)
    members = list(_entries(directory, shift))
    if len(members) != count:
        raise BrokenZip(f"its directory claims {count:,} members and lists {len(members):,}")
    return members


def _entries(directory: bytes, shift: int) -> Iterator[Member]:
    at = 0
    while at + _ENTRY.size <= len(directory) and directory.startswith(_ENTRY_MAGIC, at):
        fields = _ENTRY.unpack_from(directory, at)
        flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_len, extra_len, comment_len, offset = fields[10], fields[11], fields[12], fields[16]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_len
        name = directory[name_at:extra_at].decode("utf-8", "backslashreplace")
        wide = _wide_fields(directory[extra_at : extra_at + extra_len])
        size = next(wide, size) if size == _U32 else size
        packed = next(wide, packed) if packed == _U32 else packed
        offset = next(wide, offset) if offset == _U32 else offset
        yield Member(name, offset + shift, packed, size, crc, method, bool(flags & _ENCRYPTED))
        at = extra_at + extra_len + comment_len


def _wide_fields(extra: bytes) -> Iterator[int]:
    """The 64-bit numbers of the zip64 extra field, in their order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            for number in range(length // 8):
                field = extra[at + 4 + 8 * number : at + 12 + 8 * number]
                if len(field) == 8:
                    yield int.from_bytes(field, "little")
        at += 4 + length


def read_member(member: Member, limit: int) -> Reader[bytes]:
    """Return up to `limit` bytes of the member's content, unpacked, without a check of its CRC.

    Raises: BrokenZip, if it is encrypted, packed in another way than deflate, or not where the directory says.
    """
    if member.encrypted:
        raise BrokenZip(f"its member {member.name!r} is encrypted")
    if member.method not in (_STORED, _DEFLATED):
        raise BrokenZip(f"its member {member.name!r} is packed by method {member.method}")
    local = yield Range(member.offset, _LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(LOCAL_MAGIC):
        raise BrokenZip(f"its member {member.name!r} is not where the directory says")
    name_len, extra_len = _LOCAL.unpack(local)[9:]
    start = member.offset + _LOCAL.size + name_len + extra_len
    wanted = min(member.packed_bytes, limit)
    packed = yield Range(start, wanted)
    if len(packed) < wanted:
        raise BrokenZip(f"its member {member.name!r} goes past its end")
    if member.stored:
        return packed
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit)
    except zlib.error as error:
        raise BrokenZip(f"its member {member.name!r} cannot be unpacked: {error}") from error
