"""Sends a directory file by file, each as a resumable stream, without the files that the project already has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from libs.client.digests import DigestCache, FileDigest, NoDigests, identity
from libs.client.errors import ApiError, LocalProblem
from libs.client.files import FileSlice
from libs.client.local import LocalDirectory, LocalFile
from libs.client.parallel import in_parallel
from libs.client.progress import Progress, Step
from libs.client.responses import Session
from libs.client.streams import FileStream
from libs.client.uploads import Uploads
from libs.contracts import new_id

HASHED_BYTES = 256 * 1024  # a file up to this is hashed ahead: it costs less than asking


class DirectorySender:
    """Sends one directory: opens a session or finds the one that was left, and sends what it misses.

    A file is hashed only where its digest may save sending it: where the project stores something of its size.
    """

    def __init__(
        self,
        uploads: Uploads,
        source: LocalDirectory,
        parallel: int,
        progress: Progress,
        digests: DigestCache | None = None,
    ) -> None:
        self._uploads = uploads
        self._source = source
        self._parallel = parallel
        self._progress = progress
        self._digests = digests or NoDigests()
        self._seen: dict[str, FileDigest] = {}
        self._sha256: dict[str, str] = {}  # by relative path, where it is known
        self._missing: list[LocalFile] = []
        self._begun: frozenset[str] = frozenset()  # files of which the server may hold some
        self.sent_bytes = 0
        self.kept_bytes = 0  # in the project before this run

    async def prepare(self) -> None:
        """Look up the digests that are known, and hash what is small."""
        try:
            self._seen = await asyncio.to_thread(self._digests.find, self._source.files)
        except OSError as error:
            raise LocalProblem(f"Cannot read {error.filename}: {error.strerror}.") from error
        self._sha256 = {path: seen.sha256 for path, seen in self._seen.items() if seen.sha256 is not None}
        await self._hash(file for file in self._source.files if file.size_bytes <= HASHED_BYTES)

    def fits(self, session: Session) -> bool:
        """Whether `session` can be of this directory: the same kind and number of files."""
        return session.kind == "directory" and session.expected_file_count == len(self._source.files)

    async def open(self, name: str, version: str | None) -> tuple[str, str | None]:
        """Open a session -> (session id, model id).

        With the digests that are known at first; if the project may have other files too, these are hashed, and the
        session, of which nothing was sent, is opened anew.
        """
        opened = await self._uploads.open_directory(name, self._manifest(), version=version, idempotency_key=new_id())
        doubtful = {slot.relative_path for slot in opened.files if slot.known_size and not slot.present}
        unhashed = [file for file in self._source.files if file.relative_path in doubtful and self._may_be_there(file)]
        if unhashed:
            await self._hash(unhashed)
            await self._uploads.abort(opened.session_id)
            opened = await self._uploads.open_directory(
                name, self._manifest(), version=version, idempotency_key=new_id()
            )
        self._plan({slot.relative_path for slot in opened.files if slot.present}, frozenset())
        return opened.session_id, opened.model_id

    def _may_be_there(self, file: LocalFile) -> bool:
        """Whether to hash the file first: not if its digest is known, or it changed since it was last sent."""
        path = file.relative_path
        return path not in self._sha256 and not self._seen[path].changed

    async def resume(self, session: Session) -> bool:
        """Continue `session`, if it is of the same files. Returns: whether it is."""
        theirs = {file.relative_path: file for file in session.files or []}
        local = {file.relative_path: file for file in self._source.files}
        if {path: file.size for path, file in theirs.items()} != {path: f.size_bytes for path, f in local.items()}:
            return False
        unknown = [path for path, file in theirs.items() if file.sha256 and path not in self._sha256]
        await self._hash((local[path] for path in unknown), "verifying")
        if any(file.sha256 not in (None, self._sha256.get(path)) for path, file in theirs.items()):
            return False
        there = {path for path, file in theirs.items() if file.status in ("received", "present")}
        self._plan(there, frozenset(path for path, file in theirs.items() if file.status == "partial"))
        return True

    async def send(self, session_id: str) -> None:
        """Send every missing file, the largest first."""
        with self._progress.step("sending", self._source.size_bytes, "bytes", self.kept_bytes) as step:
            await in_parallel(self._parallel, self._missing, partial(self._send, session_id, step))

    async def _send(self, session_id: str, step: Step, file: LocalFile) -> None:
        path = file.relative_path
        try:
            stored = await self._stream(session_id, step, file, begun=path in self._begun)
        except ApiError as error:
            if error.code != "checksum_mismatch":
                raise
            self._require_unchanged(file)
            stored = await self._stream(session_id, step, file, begun=False)  # damaged on its way; nothing is held
        self._require_unchanged(file)
        if stored:
            self._sha256[path] = stored
            await asyncio.to_thread(self._digests.keep, file, self._seen[path], stored)

    async def _stream(self, session_id: str, step: Step, file: LocalFile, *, begun: bool) -> str | None:
        """Send one file -> its digest, if that is known by now."""
        sha256 = self._sha256.get(file.relative_path)
        stream = FileStream(self._uploads, session_id, file, sha256, step.advance, begun=begun)
        stored = await stream.send()
        self.sent_bytes += stream.sent_bytes
        return stored.checksum or stream.sha256

    def _require_unchanged(self, file: LocalFile) -> None:
        """Raises: LocalProblem, if the file is not what it was when this run began."""
        try:
            same = identity(file.path) == self._seen[file.relative_path].identity
        except OSError:
            same = False
        if not same:
            raise LocalProblem(f"{file.path} changed while it was being sent. Run the command again.")

    async def _hash(self, files: Iterable[LocalFile], title: str = "hashing") -> None:
        """Learn the digests of `files` that are not known."""
        unknown = [file for file in _largest_first(files) if file.relative_path not in self._sha256]
        if not unknown:
            return
        with self._progress.step(title, sum(file.size_bytes for file in unknown), "bytes") as step:

            async def digest(file: LocalFile) -> None:
                sha256 = await FileSlice(file.path, 0, file.size_bytes).sha256(step.advance)
                self._sha256[file.relative_path] = sha256
                if file.size_bytes > HASHED_BYTES:
                    self._require_unchanged(file)
                    await asyncio.to_thread(self._digests.keep, file, self._seen[file.relative_path], sha256)

            await in_parallel(self._parallel, unknown, digest)

    def _manifest(self) -> list[tuple[str, int, str | None]]:
        return [
            (file.relative_path, file.size_bytes, self._sha256.get(file.relative_path)) for file in self._source.files
        ]

    def _plan(self, there: set[str], begun: frozenset[str]) -> None:
        self._missing = [file for file in _largest_first(self._source.files) if file.relative_path not in there]
        self._begun = begun
        self.kept_bytes = self._source.size_bytes - sum(file.size_bytes for file in self._missing)


def _largest_first(files: Iterable[LocalFile]) -> list[LocalFile]:
    return sorted(files, key=lambda file: -file.size_bytes)
