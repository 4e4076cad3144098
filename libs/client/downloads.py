"""Downloads files of models: each verified by its SHA-256, and gone on with where an earlier run stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from libs.client.errors import LocalProblem
from libs.client.files import FileSlice
from libs.client.parallel import in_parallel
from libs.client.progress import Progress, Step
from libs.client.responses import ModelFile

if TYPE_CHECKING:
    from libs.client.transport import Sink

Receive = Callable[[ModelFile, "Sink"], Awaitable[None]]  # streams a file of the model into the sink


class Download:
    """Writes files of a model into a folder.

    A file that is there with the right content is left alone; another one is replaced, once the new one is whole.
    What has arrived of a file is kept beside it as `NAME.SHA256.part` until then.
    """

    def __init__(self, receive: Receive, folder: Path, files: Sequence[ModelFile], parallel: int) -> None:
        """Raises: LocalProblem for a path that leads out of `folder`."""
        self._receive = receive
        self._files = [(file, _below(folder, file.path)) for file in files]
        self._parallel = parallel

    async def run(self, progress: Progress) -> None:
        """Raises: LocalProblem if a file cannot be written, or arrives with other bytes; ApiError; Unreachable."""
        total = sum(file.size_bytes for file, _ in self._files)
        with progress.step("receiving", total, "bytes") as step:

            async def fetch(wanted: tuple[ModelFile, Path]) -> None:
                await self._fetch(*wanted, step)

            await in_parallel(self._parallel, self._files, fetch)

    async def _fetch(self, file: ModelFile, path: Path, step: Step) -> None:
        if await _is_there(file, path):
            step.advance(file.size_bytes)
            return
        part = PartFile(path, file, step)
        try:
            await part.open()
            if part.position < file.size_bytes:
                await self._receive(file, part)
        finally:
            part.close()
        await asyncio.to_thread(part.finish)


class PartFile:
    """The file that a download is written to, until it is whole: a Sink that hashes what it gets."""

    def __init__(self, path: Path, file: ModelFile, step: Step) -> None:
        self.etag = f'"{file.sha256}"'
        self.position = 0
        self._path = path
        self._expected = file
        self._step = step
        self._part = path.with_name(f"{path.name}.{file.sha256[:16]}.part")
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._closed = False
        self._lock = threading.Lock()  # a thread goes on when the task that waits for it is cancelled

    async def open(self) -> None:
        """Go on with what an earlier run left, if it left something. Raises: LocalProblem."""
        self.position = await asyncio.to_thread(self._do, self._continue)
        self._step.advance(self.position)

    async def write(self, chunk: bytes) -> None:
        """Append. Raises: LocalProblem."""
        self.position += await asyncio.to_thread(self._do, lambda file: self._append(file, chunk))
        self._step.advance(len(chunk))

    async def restart(self) -> None:
        """Begin anew. Raises: LocalProblem."""
        self._step.advance(-self.position)
        self.position = await asyncio.to_thread(self._do, self._empty)

    def close(self) -> None:
        """Keep what is there, for another run."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def finish(self) -> None:
        """Put the whole file in its place. Raises: LocalProblem if it has other bytes than the model."""
        if self._digest.hexdigest() != self._expected.sha256:
            self._part.unlink(missing_ok=True)
            raise LocalProblem(f"{self._path} arrived with other bytes than the model has. Download it again.")
        try:
            os.replace(self._part, self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _do(self, work: Callable[[BinaryIO], int]) -> int:
        """Do `work` with the open file; nothing once it is closed."""
        with self._lock:
            if self._closed:
                return 0
            try:
                if self._file is None:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = self._part.open("ab+")
                return work(self._file)
            except OSError as error:
                raise _unwritable(self._part, error) from error

    def _continue(self, file: BinaryIO) -> int:
        """Hash what is there -> its size; if it is more than the file has, it is of something else."""
        if self._part.stat().st_size > self._expected.size_bytes:
            return self._empty(file)
        file.seek(0)
        size_bytes = 0
        while chunk := file.read(1 << 20):
            self._digest.update(chunk)
            size_bytes += len(chunk)
        return size_bytes

    def _append(self, file: BinaryIO, chunk: bytes) -> int:
        file.write(chunk)
        self._digest.update(chunk)
        return len(chunk)

    def _empty(self, file: BinaryIO) -> int:
        file.truncate(0)
        self._digest = hashlib.sha256()
        return 0


def _below(folder: Path, relative: str) -> Path:
    """Where the file goes; a server that names another place on this disk is not obeyed."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in relative or "\0" in relative:
        raise LocalProblem(f"The server names a file {relative!r}, which would not be inside {folder}.")
    return folder.joinpath(*path.parts)


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


async def _is_there(file: ModelFile, path: Path) -> bool:
    if not await asyncio.to_thread(_has_size, path, file.size_bytes):
        return False
    return await FileSlice(path, 0, file.size_bytes).sha256() == file.sha256


def _unwritable(path: Path, error: OSError) -> LocalProblem:
    return LocalProblem(f"Cannot write {path}: {error.strerror}. What has arrived is kept; run it again.")
