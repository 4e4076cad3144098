"""Sends an archive in parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from libs.client.delivery import deliver
from libs.client.files import FileSlice
from libs.client.local import LocalArchive
from libs.client.parallel import in_parallel
from libs.client.progress import Progress
from libs.client.responses import Session
from libs.client.uploads import Uploads
from libs.contracts import new_id


@dataclass(frozen=True)
class _Parts:
    """The size of a part in bytes, and the number of parts."""

    part_bytes: int
    count: int


class ArchiveSender:
    """Sends one archive: opens a session or finds the one that was left, and sends what it misses."""

    def __init__(self, uploads: Uploads, source: LocalArchive, parallel: int, progress: Progress) -> None:
        self._uploads = uploads
        self._source = source
        self._parallel = parallel
        self._progress = progress
        self._parts = _Parts(0, 0)
        self._stored: frozenset[int] = frozenset()
        self.sent_bytes = 0
        self.kept_bytes = 0  # on the server before this run

    async def prepare(self) -> None:
        """Does nothing: each part is hashed right before it is sent."""

    def fits(self, session: Session) -> bool:
        """Whether `session` can be of this archive: the same kind, size and format."""
        return (
            session.kind == "archive"
            and session.archive_size == self._source.size_bytes
            and session.archive_format == self._source.format
        )

    async def open(self, name: str, version: str | None) -> tuple[str, str | None]:
        """Open a session -> (session id, model id)."""
        source = self._source
        opened = await self._uploads.open_archive(
            name, source.size_bytes, source.format, version=version, idempotency_key=new_id()
        )
        self._parts = _Parts(opened.chunk_size, opened.total_chunks)
        return opened.session_id, opened.model_id

    async def resume(self, session: Session) -> bool:
        """Continue `session`, if its parts are those of the file on disk. Returns: whether they are."""
        stored = {part.part_number: part.checksum for part in session.parts or []}
        if not session.chunk_size or not session.total_chunks:
            return False
        if session.status != "open" and len(stored) < session.total_chunks:
            return False  # nothing left to tell it from another archive of the same size
        self._parts = _Parts(session.chunk_size, session.total_chunks)
        kept = sum(self._piece(number).size_bytes for number in stored)
        if await self._differs(stored, kept):
            return False
        self._stored = frozenset(stored)
        self.kept_bytes = kept
        return True

    async def _differs(self, stored: dict[int, str], kept_bytes: int) -> bool:
        """Whether a part on the server, number -> sha256, has other bytes than the file on disk."""
        if not stored:
            return False
        differing: list[int] = []
        with self._progress.step("verifying", kept_bytes, "bytes") as step:

            async def verify(number: int) -> None:
                if await self._piece(number).sha256(step.advance) != stored[number]:
                    differing.append(number)

            await in_parallel(self._parallel, sorted(stored), verify)
        return bool(differing)

    async def send(self, session_id: str) -> None:
        """Send every missing part, from the first on: the server unpacks them as they land."""
        missing = [number for number in range(self._parts.count) if number not in self._stored]
        with self._progress.step("sending", self._source.size_bytes, "bytes", self.kept_bytes) as step:

            async def send(number: int) -> None:
                piece = self._piece(number)
                piece.moved = step.advance
                await deliver(piece, partial(self._uploads.send_part, session_id, number))
                self.sent_bytes += piece.size_bytes

            await in_parallel(self._parallel, missing, send)

    def _piece(self, number: int) -> FileSlice:
        offset = number * self._parts.part_bytes
        return FileSlice(self._source.path, offset, min(self._parts.part_bytes, self._source.size_bytes - offset))
