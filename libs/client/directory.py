"""A directory, sent file by file; large files in parts, and nothing that the project already has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from libs.client.answers import Session
from libs.client.delivery import deliver
from libs.client.files import FileSlice
from libs.client.local import LocalDirectory, LocalFile
from libs.client.parallel import in_parallel
from libs.client.progress import Progress, Step
from libs.client.uploads import Uploads

_MOST_PARTS = 10_000


@dataclass(frozen=True)
class _Piece:
    """Part `number` of `count` of a file; the whole of it where `count` is 1."""

    file: LocalFile
    number: int
    count: int

    @property
    def offset(self) -> int:
        # Cut evenly by the count alone, so that a later run finds the same cuts from what the server remembers.
        return self.file.size_bytes * self.number // self.count

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes * (self.number + 1) // self.count - self.offset


class DirectorySender:
    """Sends one directory: hashes it, opens a session or finds the one that was left, and sends what it misses."""

    def __init__(
        self, uploads: Uploads, source: LocalDirectory, parallel: int, progress: Progress, part_bytes: int
    ) -> None:
        self._uploads = uploads
        self._source = source
        self._parallel = parallel
        self._progress = progress
        self._part_bytes = part_bytes
        self._sha256: dict[str, str] = {}  # of each relative path
        self._missing: list[_Piece] = []
        self.sent_bytes = 0
        self.kept_bytes = 0  # in the project before this run

    async def prepare(self) -> None:
        """Hash every file: the manifest's checksums tell the server what it already has."""
        with self._progress.step("hashing", self._source.size_bytes, "bytes") as step:

            async def digest(file: LocalFile) -> None:
                whole = FileSlice(file.path, 0, file.size_bytes)
                self._sha256[file.relative_path] = await whole.sha256(step.advance)

            await in_parallel(self._parallel, _largest_first(self._source), digest)

    def fits(self, session: Session) -> bool:
        """Whether `session` may be of this directory, by its shape."""
        return session.kind == "directory" and session.expected_file_count == len(self._source.files)

    async def open(self, name: str, version: str | None) -> tuple[str, str | None]:
        """Open a session -> (session id, model id)."""
        opened = await self._uploads.open_directory(name, self._manifest(), version=version)
        present = {file.relative_path for file in opened.files if file.present}
        self._plan({file.relative_path: self._pieces(file) for file in self._source.files}, present)
        return opened.session_id, opened.model_id

    async def resume(self, session: Session) -> bool:
        """Take `session` up again, if it is of these very files."""
        theirs = {(file.relative_path, file.size, file.sha256) for file in session.files or []}
        if theirs != set(self._manifest()):
            return False
        local = {file.relative_path: file for file in self._source.files}
        missing: dict[str, list[_Piece]] = {}
        there: set[str] = set()
        for file in session.files or []:
            if file.status in ("received", "present"):
                there.add(file.relative_path)
            elif file.part_count and file.missing is not None:
                numbers = [n for first, last in file.missing for n in range(first, last + 1)]
                missing[file.relative_path] = [_Piece(local[file.relative_path], n, file.part_count) for n in numbers]
            else:
                missing[file.relative_path] = self._pieces(local[file.relative_path])
        self._plan(missing, there)
        return True

    async def send(self, session_id: str) -> None:
        """Send every missing piece, of the largest files first."""
        with self._progress.step("sending", self._source.size_bytes, "bytes", self.kept_bytes) as step:
            await in_parallel(self._parallel, self._missing, partial(self._send, session_id, step))

    async def _send(self, session_id: str, step: Step, piece: _Piece) -> None:
        path = piece.file.relative_path
        body = FileSlice(piece.file.path, piece.offset, piece.size_bytes, step.advance)
        if piece.count == 1:
            await deliver(body, partial(self._uploads.send_file, session_id, path), self._sha256[path])
        else:
            send = partial(self._uploads.send_file_part, session_id, path, piece.number, piece.count)
            await deliver(body, send)
        self.sent_bytes += piece.size_bytes

    def _manifest(self) -> list[tuple[str, int, str]]:
        return [(file.relative_path, file.size_bytes, self._sha256[file.relative_path]) for file in self._source.files]

    def _pieces(self, file: LocalFile) -> list[_Piece]:
        part_bytes = max(self._part_bytes, -(-file.size_bytes // _MOST_PARTS))
        count = max(1, -(-file.size_bytes // part_bytes))
        return [_Piece(file, number, count) for number in range(count)]

    def _plan(self, missing: dict[str, list[_Piece]], there: set[str]) -> None:
        self._missing = [
            piece
            for file in _largest_first(self._source)
            if file.relative_path not in there
            for piece in missing[file.relative_path]
        ]
        self.kept_bytes = self._source.size_bytes - sum(piece.size_bytes for piece in self._missing)


def _largest_first(source: LocalDirectory) -> list[LocalFile]:
    return sorted(source.files, key=lambda file: -file.size_bytes)
