"""How the bytes of an upload are packed, and how an archive is recognised.

docs/recipes/archive-format.md says how to add a format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

ArchiveFormat = Literal["tar", "tar.gz", "tar.bz2"]
# raw: the parts of one file, to be joined; object: one file that is one object already, to be hashed; remote: one file
# in another store, to be copied; staged: one file under a key that its client can still write to, to be copied
Format = Literal[ArchiveFormat, "raw", "object", "remote", "staged"]


class Appearance(NamedTuple):
    """What an archive looks like from outside."""

    suffixes: tuple[str, ...]  # of file names, in lower case
    signature: bytes
    signature_at: int  # bytes before the signature
    content: str  # what begins so, as words for a message


ARCHIVES: Mapping[ArchiveFormat, Appearance] = {
    "tar": Appearance((".tar",), b"ustar", 257, "a tar file"),  # POSIX.1-1988, field `magic`
    "tar.gz": Appearance((".tar.gz", ".tgz"), b"\x1f\x8b", 0, "gzip data"),  # RFC 1952
    "tar.bz2": Appearance((".tar.bz2", ".tbz2"), b"BZh", 0, "bzip2 data"),
}
OTHER_ARCHIVES = {  # by their signatures; none of them is accepted
    b"PK\x03\x04": "a zip file",
    b"PK\x05\x06": "an empty zip file",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\xfd7zXZ\x00": "xz data",
    b"\x04\x22\x4d\x18": "lz4 data",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"Rar!": "a rar file",
}
SUFFIXES = ", ".join(archive.suffixes[0] for archive in ARCHIVES.values())  # for messages: ".tar, .tar.gz, …"
SIGNATURE_BYTES = 512  # of a file's beginning: enough to recognise every format


def format_by_content(head: bytes) -> ArchiveFormat | None:
    """The format of an archive that begins with `head`, SIGNATURE_BYTES of it; None if it is no such archive."""
    for name, archive in ARCHIVES.items():
        if head.startswith(archive.signature, archive.signature_at):
            return name
    return None


def format_by_name(file_name: str) -> ArchiveFormat | None:
    """The format of an archive with this name; None if the name does not say."""
    lowered = file_name.lower()
    return next((name for name, archive in ARCHIVES.items() if lowered.endswith(archive.suffixes)), None)
