"""One 512-byte header block of a tar archive, and the records of a PAX extended header.

Source: POSIX.1-2017 `pax` ("ustar Interchange Format", "pax Interchange Format"), the GNU tar manual ("Basic Tar
Format").
Where readers of tar are known to disagree, this one refuses the archive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from libs.archives.errors import BadArchive, refusal
from libs.archives.paths import displayable
from libs.archives.signatures import looks_like

BLOCK = 512
MAX_SIZE = 2**63 - 1

REGULAR = b"0"
OLD_REGULAR = b"\0"  # v7: also folders, by a trailing slash
FOLDER = b"5"
PAX = b"x"
PAX_GLOBAL = b"g"
GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
_GNU_SPARSE = b"S"

_REPACK = "Make the archive again, for example with `tar -chzf model.tar.gz -C FOLDER .`."
_OCTAL = re.compile(rb"\A[0-7]+\Z")
_NEGATIVE = re.compile(rb"\A-[0-7]+\Z")
_PAX_LENGTH = re.compile(rb"\A[1-9][0-9]{0,9} ")
_PAX_KEPT = frozenset({"path", "size", "linkpath"})
_PAX_SPARSE = ("GNU.sparse.", "SCHILY.realsize")


# By type flag: rule, message, fix
_REFUSED: Mapping[bytes, tuple[str, str, str]] = {
    b"1": (
        "tar-hard-link",
        "the member is a hard link to '{target}'.",
        "Archive with `tar -h --hard-dereference`, to store files whole.",
    ),
    b"2": (
        "tar-symlink",
        "the member is a symbolic link to '{target}'.",
        "Archive with `tar -h`, so that the files behind links are stored.",
    ),
    b"3": ("tar-device", "the member is a character device.", "Leave it out of the archive."),
    b"4": ("tar-device", "the member is a block device.", "Leave it out of the archive."),
    b"6": ("tar-fifo", "the member is a named pipe.", "Leave it out of the archive."),
    b"7": ("tar-contiguous", "the member is a contiguous file.", "Archive with `tar --format=ustar`."),
    b"M": (
        "tar-multi-volume",
        "the member is the continuation of another volume.",
        "Archive without `--multi-volume`.",
    ),
    b"D": ("tar-incremental", "the member is an incremental dump.", "Archive without `--listed-incremental`."),
    b"V": ("tar-volume-label", "the member is a volume label.", "Archive without `--label`."),
}


@dataclass(frozen=True, slots=True)
class TarHeader:
    """The content of one header block. Names may contain lone surrogates where they were not UTF-8."""

    name: str
    size_bytes: int
    typeflag: bytes
    linkname: str


def parse_header(block: bytes, offset: int) -> TarHeader:
    """Read a header block that is not all zeros; `offset` is where it begins.

    Raises: BadArchive (`tar-bad-checksum`, `tar-bad-size`, and `not-a-tar` for the first block of all).
    """
    if not _checksum_fits(block):
        if offset == 0:
            raise not_a_tar(block)
        found = f"the header at byte {offset} has a wrong checksum: the archive is damaged."
        raise refusal("tar-bad-checksum", found, _REPACK, offset=offset)
    name = _text(block[0:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""  # GNU keeps other things there
    if prefix:
        name = f"{prefix}/{name}"
    size_bytes = _size(block[124:136], name, offset)
    return TarHeader(name=name, size_bytes=size_bytes, typeflag=block[156:157], linkname=_text(block[157:257]))


def not_a_tar(first: bytes) -> BadArchive:
    """Build the error for bytes that do not begin as a tar archive."""
    kind = looks_like(first)
    found = f"what was sent is not a tar archive; it looks like {kind}."
    return refusal("not-a-tar", found, f"{_REPACK} Name its format in archive_format.", offset=0)


def parse_pax(records: bytes, name: str, offset: int) -> Mapping[str, str]:
    """Return the records `path`, `size` and `linkpath` of an extended header; others are skipped.

    Raises: BadArchive (`tar-bad-pax`, `tar-sparse`).
    """
    kept: dict[str, str] = {}
    at = 0
    while at < len(records):
        length = _PAX_LENGTH.match(records[at : at + 11])
        end = at + int(length.group()) if length else 0
        if length is None or end > len(records) or end <= at + length.end() or records[end - 1] != 0x0A:
            raise _bad_pax("a record whose length is wrong", name, offset)
        key, equals, value = records[at + length.end() : end - 1].partition(b"=")
        if not key or not equals:
            raise _bad_pax("a record without a key", name, offset)
        keyword = key.decode("utf-8", "surrogateescape")
        if keyword.startswith(_PAX_SPARSE):
            raise sparse(name, offset)
        if keyword in _PAX_KEPT:
            if not value:
                raise _bad_pax(f"an empty {keyword}", name, offset)
            kept[keyword] = value.decode("utf-8", "surrogateescape")
        at = end
    return kept


def pax_size(text: str, name: str, offset: int) -> int:
    """Return the decimal `size` of an extended header. Raises: BadArchive (`tar-bad-size`)."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_SIZE)) or int(text) > MAX_SIZE:
        raise _bad_size(f"the size '{text[:40]}'", name, offset)
    return int(text)


def refused_type(typeflag: bytes, name: str, target: str, offset: int) -> BadArchive:
    """Build the error for a member that is neither file nor folder; `target` is where a link points."""
    if typeflag == _GNU_SPARSE:
        return sparse(name, offset)
    if typeflag not in _REFUSED:
        kind = typeflag.decode("ascii", "backslashreplace")
        found = f"the member is of the unknown kind '{displayable(kind)}'."
        return refusal("tar-unknown-type", found, _REPACK, file=name, offset=offset)
    rule, found, fix = _REFUSED[typeflag]
    return refusal(rule, found.format(target=displayable(target)), fix, file=name, offset=offset)


def sparse(name: str, offset: int) -> BadArchive:
    """Build the error for a sparse member, in any of the four dialects."""
    fix = "Archive without `--sparse` (`-S`), so that each file is stored whole."
    return refusal("tar-sparse", "the member is a sparse file.", fix, file=name, offset=offset)


def _checksum_fits(block: bytes) -> bool:
    """Whether the checksum is right: the sum of all bytes, its own as spaces, unsigned, or signed as in old tars."""
    digits = block[148:156].split(b"\0")[0].strip(b" ")
    if not _OCTAL.match(digits):
        return False
    unsigned = sum(block) - sum(block[148:156]) + 8 * 0x20
    negative = sum(1 for byte in block[:148] + block[156:] if byte >= 0x80)
    return int(digits, 8) in (unsigned, unsigned - 256 * negative)


def _size(raw: bytes, name: str, offset: int) -> int:
    """The size field: octal digits, or base 256 where the top bit is set (GNU, star)."""
    if raw[0] == 0x80:
        value = int.from_bytes(raw[1:], "big")
        if value <= MAX_SIZE:
            return value
        raise _bad_size("a size that overflows", name, offset)
    digits = raw.split(b"\0")[0].strip(b" ")
    if raw[0] & 0x80 or _NEGATIVE.match(digits):
        raise _bad_size("a negative size", name, offset)
    if not digits:
        return 0
    if not _OCTAL.match(digits):
        raise _bad_size("a size that is not a number", name, offset)
    return int(digits, 8)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _bad_size(what: str, name: str, offset: int) -> BadArchive:
    return refusal("tar-bad-size", f"the header gives {what}.", _REPACK, file=name, offset=offset)


def _bad_pax(what: str, name: str, offset: int) -> BadArchive:
    return refusal("tar-bad-pax", f"the PAX header has {what}.", _REPACK, file=name, offset=offset)
