"""What comes out of an archive that is fed in pieces."""

from __future__ import annotations

from libs.archives.limits import ArchiveLimits
from libs.archives.tar import Content, MemberDropped, MemberEnded, MemberEvent, MemberStarted
from libs.archives.unpack import Unpacker, unpack_archive
from libs.contracts import ArchiveFormat


class Files:
    """Gathers events into files, and sees that they come in the order that they promise."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self._present: MemberStarted | None = None
        self._content = bytearray()

    def take(self, events: list[MemberEvent]) -> None:
        """The next events."""
        for event in events:
            match event:
                case MemberDropped(path):
                    self.dropped.append(path)
                case MemberStarted():
                    assert self._present is None
                    self._present = event
                case Content(view):
                    assert self._present is not None
                    self._content += view
                case MemberEnded():
                    assert self._present is not None
                    assert len(self._content) == self._present.size_bytes
                    self.contents[self._present.path] = bytes(self._content)
                    self._present = None
                    self._content.clear()


def unpacked(
    content: bytes,
    archive_format: ArchiveFormat = "tar",
    *,
    piece_bytes: int | None = None,
    limits: ArchiveLimits | None = None,
    sha256: str | None = None,
) -> Files:
    """The files of a whole archive, fed in pieces of one size. Raises: BadArchive."""
    unpacker = unpack_archive(archive_format, limits or ArchiveLimits(), sha256=sha256)
    return drained(unpacker, content, piece_bytes or len(content) or 1)


def drained(unpacker: Unpacker, content: bytes, piece_bytes: int) -> Files:
    """Everything that `unpacker` makes of the content."""
    files = Files()
    for at in range(0, len(content), piece_bytes):
        unpacker.feed(content[at : at + piece_bytes])
        while not unpacker.needs_input:
            files.take(unpacker.step())
    files.take(unpacker.close())
    return files
