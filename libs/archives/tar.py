"""Reads a tar archive without I/O: `feed` takes bytes, in pieces of any size, and returns events.

The reader keeps at most one header block or one extended header in memory, and never the content of a member. It reads
v7, ustar, GNU (long names, base-256 sizes) and PAX, as written by GNU tar, bsdtar and Python. A member that is neither
a plain file nor a folder, or that two readers could understand differently, is refused at its first byte (see
`tarheader`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from libs.archives.errors import BadArchive, refusal
from libs.archives.limits import ArchiveLimits
from libs.archives.paths import PathRejected, PathSet, check_path, is_macos_metadata
from libs.archives.tarheader import (
    BLOCK,
    FOLDER,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    OLD_REGULAR,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    TarHeader,
    not_a_tar,
    parse_header,
    parse_pax,
    pax_size,
    refused_type,
)

MODEL_FOLDER = "."  # the archive's root, where it is a member
MAX_EXTENDED_BYTES = 1024 * 1024  # a PAX header may carry extended attributes of a file; names are far smaller

_ZEROS = bytes(BLOCK)
_EXTENDED = {PAX: "PAX header", PAX_GLOBAL: "global PAX header", GNU_LONG_NAME: "long name", GNU_LONG_LINK: "long link"}
_TRUNCATED = "Send the whole archive; make it again if the file on your disk is incomplete."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemberStarted:
    """A file begins. `size_bytes` bytes of `Content` and a `MemberEnded` follow."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Content:
    """The next bytes of the file: a view of what was fed, not a copy."""

    view: memoryview


class TarCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader needs, in addition to the paths of the files so far, to continue at the next header."""

    next_at: int  # offset of that header
    files: int
    bytes_out: int
    folders: list[str]  # as named by members of their own
    dropped: list[str]


@dataclass(frozen=True, slots=True)
class MemberEnded:
    """The file is complete. With `checkpoint()`, where it is set, another reader can continue after it."""

    checkpoint: Callable[[], TarCheckpoint] | None = None


@dataclass(frozen=True, slots=True)
class MemberDropped:
    """A member that macOS added by itself was left out."""

    path: str


MemberEvent = MemberStarted | Content | MemberEnded | MemberDropped


class TarReader:
    """Call `feed` with each piece of the archive, then `close`; both raise BadArchive at the first fault."""

    def __init__(self, limits: ArchiveLimits | None = None, *, size_bytes: int | None = None) -> None:
        """`size_bytes`: of the whole archive, if known."""
        self._dropped: list[str] = []
        self._folders: list[str] = []
        self._limits = limits or ArchiveLimits()
        self._size_bytes = size_bytes
        self._paths = PathSet(self._limits.paths)
        self._state: Callable[[memoryview, list[MemberEvent]], int] = self._read_header
        self._offset = 0  # bytes taken so far
        self._header_at = 0  # where the present header block began
        self._buffer = bytearray()  # an incomplete header block or extended header
        self._size = 0  # of the present file
        self._left = 0  # bytes of content, or of an extended header, still to come
        self._padding = 0  # bytes after it, up to the next block
        self._skipping = False  # the present member is left out
        self._name = ""  # of the present member, for messages
        self._extended = b""  # the typeflag of the extended header that is being read
        self._overrides: dict[str, str] = {}  # what extended headers say of the next member
        self._extensions: set[bytes] = set()  # the kinds of extended headers seen before the next member
        self._files = 0
        self._bytes_out = 0
        self._end_blocks = 0

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[MemberEvent]:
        """Read the next bytes of the archive. Returns their events. Raises: BadArchive."""
        view = memoryview(chunk)
        events: list[MemberEvent] = []
        while len(view):
            taken = self._state(view, events)
            self._offset += taken
            view = view[taken:]
        return events

    def resume(self, checkpoint: TarCheckpoint, paths: Iterable[str]) -> None:
        """Start at the checkpoint instead of at byte 0; `paths` are those of the files before it."""
        for path in paths:
            self._paths.add_file(path)
        for path in checkpoint.folders:
            self._take_folder(path)
        for path in checkpoint.dropped:
            self._paths.count(path)
        self._dropped = list(checkpoint.dropped)
        self._files = checkpoint.files
        self._bytes_out = checkpoint.bytes_out
        self._offset = self._header_at = checkpoint.next_at

    def close(self) -> list[MemberEvent]:
        """End the archive. Returns no event. Raises: BadArchive if the archive is cut short or empty."""
        if self._end_blocks < 2:
            raise self._cut_short()
        if not self._files:
            found = "the archive holds no file."
            raise refusal("archive-empty", found, "Archive the model's folder.", offset=self._offset)
        return []

    # States: each takes some bytes from the front of `view` and says how many.

    def _read_header(self, view: memoryview, events: list[MemberEvent]) -> int:
        if not self._buffer:
            self._header_at = self._offset
        taken = self._collect(view, BLOCK)
        if len(self._buffer) == BLOCK:
            block = bytes(self._buffer)
            self._buffer.clear()
            if block == _ZEROS:
                self._end_block()
            elif self._end_blocks:
                raise _goes_on(self._header_at)
            else:
                self._member(parse_header(block, self._header_at), events)
        return taken

    def _read_extended(self, view: memoryview, events: list[MemberEvent]) -> int:
        taken = self._collect(view, self._left)
        if len(self._buffer) == self._left:
            self._left = 0
            self._take_extended(bytes(self._buffer))
            self._buffer.clear()
            self._state = self._read_padding if self._padding else self._read_header
        return taken

    def _read_content(self, view: memoryview, events: list[MemberEvent]) -> int:
        taken = min(self._left, len(view))
        self._left -= taken
        if not self._skipping:
            events.append(Content(view[:taken]))
        if not self._left:
            self._end_member(events)
        return taken

    def _read_padding(self, view: memoryview, events: list[MemberEvent]) -> int:
        taken = min(self._padding, len(view))
        self._padding -= taken
        if not self._padding:
            self._state = self._read_header
        return taken

    def _read_end(self, view: memoryview, events: list[MemberEvent]) -> int:
        """After the end marker, only zeros up to the record size may follow."""
        piece = bytes(view[:BLOCK])
        if piece != _ZEROS[: len(piece)]:
            raise _goes_on(self._offset + len(piece) - len(piece.lstrip(b"\0")))
        return len(piece)

    # What headers say

    def _member(self, header: TarHeader, events: list[MemberEvent]) -> None:
        if header.typeflag in _EXTENDED:
            self._begin_extended(header)
            return
        overrides, self._overrides = self._overrides, {}
        self._extensions.clear()
        self._name = raw = overrides.get("path", header.name)
        size_bytes = header.size_bytes
        if "size" in overrides:
            size_bytes = pax_size(overrides["size"], raw, self._header_at)
        is_folder = header.typeflag == FOLDER or (header.typeflag == OLD_REGULAR and raw.endswith("/"))
        if is_folder:
            self._folder(raw, size_bytes)
        elif header.typeflag in (REGULAR, OLD_REGULAR):
            self._file(raw, size_bytes, events)
        else:
            raise refused_type(header.typeflag, raw, overrides.get("linkpath", header.linkname), self._header_at)

    def _begin_extended(self, header: TarHeader) -> None:
        kind = _EXTENDED[header.typeflag]
        self._name = header.name
        if header.size_bytes > MAX_EXTENDED_BYTES:
            found = f"the {kind} is {header.size_bytes} bytes long, more than {MAX_EXTENDED_BYTES}."
            fix = "Archive without extended attributes (`--no-xattrs`)."
            raise self._refuse("tar-header-too-large", found, fix)
        if header.typeflag in self._extensions or not header.size_bytes:
            raise self._refuse("tar-bad-extension", f"the {kind} is repeated or empty.", "Make the archive again.")
        if header.typeflag != PAX_GLOBAL:
            self._extensions.add(header.typeflag)
        self._extended = header.typeflag
        self._left = header.size_bytes
        self._padding = -header.size_bytes % BLOCK
        self._state = self._read_extended

    def _take_extended(self, content: bytes) -> None:
        typeflag = self._extended
        if typeflag in (GNU_LONG_NAME, GNU_LONG_LINK):
            key = "path" if typeflag == GNU_LONG_NAME else "linkpath"
            said = {key: content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
        else:
            said = dict(parse_pax(content, self._name, self._header_at))
        if typeflag == PAX_GLOBAL:
            if said:
                found = f"a global PAX header sets the {next(iter(said))} of every member."
                raise self._refuse("tar-bad-pax", found, "Make the archive again.")
        elif self._overrides.keys() & said.keys():
            raise self._refuse("tar-bad-extension", "the member has two long names.", "Make the archive again.")
        self._overrides |= said

    def _folder(self, raw: str, size_bytes: int) -> None:
        if size_bytes:
            fix = "Make the archive again, with a usual tar."
            raise self._refuse("tar-folder-with-content", f"the folder has {size_bytes} bytes of content.", fix)
        name = raw.rstrip("/")
        if not raw.startswith("/") and all(part in ("", ".") for part in raw.split("/")) and raw:
            path = MODEL_FOLDER
        else:
            path = self._checked(check_path, name or raw)
        self._checked(self._take_folder, path)

    def _take_folder(self, path: str) -> None:
        left_out = path == MODEL_FOLDER or is_macos_metadata(path)
        (self._paths.count if left_out else self._paths.add_folder)(path)
        self._folders.append(path)

    def _file(self, raw: str, size_bytes: int, events: list[MemberEvent]) -> None:
        path = self._checked(check_path, raw)
        self._skipping = is_macos_metadata(path)
        self._checked(self._paths.count if self._skipping else self._paths.add_file, path)
        self._bytes_out += size_bytes
        if self._bytes_out > self._limits.max_bytes_out:
            found = f"its {size_bytes} bytes make more than the {self._limits.max_bytes_out} that the archive may hold."
            raise self._refuse("archive-too-large", found, "Upload a smaller model, or ask for a higher limit.")
        if self._size_bytes is not None and self._header_at + BLOCK + size_bytes > self._size_bytes:
            raise self._refuse("tar-truncated", f"its {size_bytes} bytes go beyond the archive's end.", _TRUNCATED)
        if self._skipping:
            self._dropped.append(path)
            events.append(MemberDropped(path))
        else:
            self._files += 1
            events.append(MemberStarted(path, size_bytes))
        self._size = self._left = size_bytes
        self._padding = -size_bytes % BLOCK
        self._state = self._read_content
        if not size_bytes:
            self._end_member(events)

    def _end_member(self, events: list[MemberEvent]) -> None:
        if not self._skipping:
            next_at = self._header_at + BLOCK + self._size + self._padding
            so_far = (self._files, self._bytes_out, len(self._folders), len(self._dropped))
            events.append(MemberEnded(partial(self._checkpoint, next_at, *so_far)))
        self._state = self._read_padding if self._padding else self._read_header

    def _checkpoint(self, next_at: int, files: int, bytes_out: int, folders: int, dropped: int) -> TarCheckpoint:
        return TarCheckpoint(
            next_at=next_at,
            files=files,
            bytes_out=bytes_out,
            folders=self._folders[:folders],
            dropped=self._dropped[:dropped],
        )

    def _end_block(self) -> None:
        if self._extensions:
            raise self._refuse("tar-bad-extension", "a header for a next member has no next member.", _TRUNCATED)
        self._end_blocks += 1
        if self._end_blocks == 2:
            self._state = self._read_end

    # Small parts

    def _collect(self, view: memoryview, wanted: int) -> int:
        taken = min(wanted - len(self._buffer), len(view))
        self._buffer += view[:taken]
        return taken

    def _checked(self, rule: Callable[[str], T], path: str) -> T:
        try:
            return rule(path)
        except PathRejected as rejected:
            raise BadArchive(msgspec.structs.replace(rejected.finding, offset_bytes=self._header_at)) from None

    def _refuse(self, rule: str, found: str, fix: str) -> BadArchive:
        return refusal(rule, found, fix, file=self._name, offset=self._header_at)

    def _cut_short(self) -> BadArchive:
        if self._state == self._read_header and not self._buffer:
            if not self._offset:
                return refusal("archive-empty", "the archive has no bytes.", "Archive the model's folder.", offset=0)
            found = "the archive ends without its end marker (two blocks of zeros)."
            return refusal("tar-no-end", found, _TRUNCATED, offset=self._offset)
        if self._state == self._read_header:
            if self._header_at == 0:
                return not_a_tar(bytes(self._buffer))
            found = f"the archive ends within a header, at byte {self._offset}."
            return refusal("tar-truncated", found, _TRUNCATED, offset=self._offset)
        found = f"the archive ends within this member, at byte {self._offset}."
        return refusal("tar-truncated", found, _TRUNCATED, file=self._name, offset=self._offset)


def _goes_on(offset: int) -> BadArchive:
    found = f"the archive goes on after its end marker, at byte {offset}."
    return refusal(
        "tar-garbage-after-end", found, "Send one archive, not several joined, with nothing after it.", offset=offset
    )
