"""Ranges of files: hashed and sent 1 MiB at a time, in threads, never held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from libs.client.errors import LocalProblem
from libs.errors import SlipwayError

try:
    from isal.isal_zlib import crc32 as crc32_of  # several times as fast; there where the services are installed
except ImportError:
    from zlib import crc32 as crc32_of

_SEND_BYTES = 1 << 20
_HASH_BYTES = 8 << 20  # one hop to a thread for about 20 ms of hashing

Moved = Callable[[int], None]  # called with the number of bytes moved; negative if they have to be moved again


def _unwatched(_: int) -> None:
    """Ignores progress."""


class FileSlice:
    """`size_bytes` of the file at `path` from `offset`: a request body that can be sent again from its start."""

    def __init__(self, path: Path, offset: int, size_bytes: int, moved: Moved = _unwatched) -> None:
        self.path = path
        self.offset = offset
        self.size_bytes = size_bytes
        self.failure: SlipwayError | None = None
        self.moved = moved
        self.crc32: str | None = None  # of the whole slice, once it is sent: 8 hex digits (IEEE)
        self._sent = 0

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The bytes, 1 MiB at a time.

        Raises: LocalProblem if the file cannot be read or became shorter; kept in `failure` too, since an HTTP
        client reports it as a broken connection.
        """
        self.moved(-self._sent)
        self._sent = 0
        self.crc32 = None
        try:
            crc32 = 0
            with closing(_Reader(self.path, self.offset)) as file:
                while self._sent < self.size_bytes:
                    wanted = min(_SEND_BYTES, self.size_bytes - self._sent)
                    chunk, crc32 = await asyncio.to_thread(_read_checked, file, wanted, crc32)
                    if self._sent + wanted == self.size_bytes:
                        self.crc32 = f"{crc32:08x}"
                    yield chunk
                    self._sent += len(chunk)
                    self.moved(len(chunk))
        except LocalProblem as problem:
            self.failure = problem
            raise

    async def sha256(self, moved: Moved = _unwatched) -> str:
        """The SHA-256 of the bytes, in hex.

        Raises: LocalProblem if the file cannot be read or became shorter.
        """
        digest = hashlib.sha256()
        left = self.size_bytes
        with closing(_Reader(self.path, self.offset)) as file:
            while left:
                step = min(_HASH_BYTES, left)
                await asyncio.to_thread(_hash, digest.update, file, step)
                left -= step
                moved(step)
        return digest.hexdigest()


class _Reader:
    """A file that its first read opens, in the thread of that; it is closed also if nobody waits for that any more."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._file: BinaryIO | None = None
        self._closed = False
        self._lock = threading.Lock()

    def read(self, size_bytes: int) -> bytes:
        """The next bytes. Raises: LocalProblem if they cannot be read, or the file has become shorter."""
        with self._lock:
            try:
                chunk = b"" if self._closed else self._opened().read(size_bytes)
            except OSError as error:
                raise LocalProblem(f"Cannot read {self._path}: {error.strerror}.") from error
        if len(chunk) < size_bytes:
            raise LocalProblem(f"{self._path} became shorter while it was being sent. Run the command again.")
        return chunk

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(self._offset)
        return self._file

    def close(self) -> None:
        """Close the file, once the read that is under way is over."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()


def _read_checked(file: _Reader, size_bytes: int, crc32: int) -> tuple[bytes, int]:
    chunk = file.read(size_bytes)
    return chunk, crc32_of(chunk, crc32)


def _hash(update: Callable[[bytes], None], file: _Reader, size_bytes: int) -> None:
    while size_bytes:
        chunk = file.read(min(_SEND_BYTES, size_bytes))
        update(chunk)
        size_bytes -= len(chunk)
