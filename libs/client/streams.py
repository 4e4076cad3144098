"""Sends one file as a resumable stream: after an error it continues from what the server holds."""

from __future__ import annotations

import asyncio
import random
import time

from libs.client.errors import ApiError, LocalProblem, Unreachable
from libs.client.files import FileSlice, Moved
from libs.client.local import LocalFile
from libs.client.responses import FileStored
from libs.client.uploads import PATIENCE_S, Uploads

SMALL_BYTES = 1024 * 1024  # a file up to this is one request: there is nothing in it to go on from
_AGAIN = frozenset({408, 409, 429, 502, 503, 504})  # ask what is held, and go on
_LONGEST_PAUSE_S = 8.0


class FileStream:
    """Sends one file of a session. `sent_bytes`: how much of the file this run sent and the server holds."""

    def __init__(
        self, uploads: Uploads, session_id: str, file: LocalFile, sha256: str | None, moved: Moved, *, begun: bool
    ) -> None:
        """`sha256`: None if it is not known; `begun`: whether the server may hold some of the file already."""
        self.sha256 = sha256
        self.sent_bytes = 0
        self._uploads = uploads
        self._session_id = session_id
        self._file = file
        self._moved = moved
        self._counted = 0  # reported to `moved`
        self._begun = begun
        self._failures = 0  # in a row, without a byte more
        self._progressed_at = time.monotonic()

    async def send(self) -> FileStored:
        """Send what the server does not hold, until it has all of it, and compare its checksum with the file's.

        Raises: LocalProblem if the file changed, or the server stored other bytes; ApiError; Unreachable, if nothing
        gets through for a while.
        """
        if self._file.size_bytes <= SMALL_BYTES:
            return await self._send_whole()
        size = self._file.size_bytes
        answer = await self._ask() if self._begun else None
        held = first = _held(answer, size)
        self._count(held)
        piece: FileSlice | None = None
        while answer is None or answer.held_bytes is not None:
            pauses = self._failures
            answer, piece = await self._send(FileSlice(self._file.path, held, size - held, self._count))
            before, held = held, _held(answer, size)
            self._count(held - self._counted)
            if held > before:
                self._failures, self._progressed_at = 0, time.monotonic()
            elif self._failures == pauses:
                await self._pause(Unreachable(f"The server keeps nothing of what is sent of {self._file.path}."))
        await self._prove(answer, piece)
        self.sent_bytes = size - first
        return answer

    async def _send_whole(self) -> FileStored:
        piece = FileSlice(self._file.path, 0, self._file.size_bytes, self._count)
        answer = await self._uploads.send_file(self._session_id, self._file.relative_path, piece, self.sha256)
        await self._prove(answer, piece)
        self.sent_bytes = piece.size_bytes
        return answer

    async def _send(self, piece: FileSlice) -> tuple[FileStored, FileSlice | None]:
        """Send `piece` -> what is held then, and the piece if that is the answer to it."""
        if piece.offset and self.sha256 is None:
            # What other requests brought has no proof but the digest of the whole.
            self.sha256 = await FileSlice(self._file.path, 0, self._file.size_bytes).sha256()
        try:
            sent = await self._uploads.send_range(
                self._session_id, self._file.relative_path, piece, self._file.size_bytes, self.sha256
            )
        except (ApiError, Unreachable) as error:
            if isinstance(error, ApiError) and error.status not in _AGAIN:
                raise
            await self._pause(error)
            return await self._ask(), None
        return sent, piece

    async def _ask(self) -> FileStored:
        """What the server holds."""
        return await self._uploads.ask_range(self._session_id, self._file.relative_path, self._file.size_bytes)

    def _count(self, moved: int) -> None:
        self._counted += moved
        self._moved(moved)

    async def _pause(self, error: ApiError | Unreachable) -> None:
        """Wait, longer each time. Raises: `error`, if nothing has arrived for PATIENCE_S seconds."""
        self._failures += 1
        pause_s = min(0.25 * 2**self._failures, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        if time.monotonic() + pause_s - self._progressed_at > PATIENCE_S:
            raise error
        self._uploads.on_retry(f"{error.message} Going on with {self._file.relative_path} …")
        await asyncio.sleep(pause_s)

    async def _prove(self, answer: FileStored, piece: FileSlice | None) -> None:
        """Raises: LocalProblem, if the server does not have the bytes of the file on disk."""
        if self.sha256 is not None and answer.checksum:
            same = answer.checksum == self.sha256
        elif piece is not None and piece.offset == 0 and answer.crc32 and piece.crc32:
            same = answer.crc32 == piece.crc32
        elif answer.checksum:
            same = answer.checksum == await FileSlice(self._file.path, 0, self._file.size_bytes).sha256()
        else:
            same = True  # resumed with its digest, which the server compares when it has read the file
        if not same:
            raise LocalProblem(
                f"The server stored other bytes of {self._file.path} than are there. Abort the upload and start again."
            )


def _held(answer: FileStored | None, size_bytes: int) -> int:
    if answer is None:
        return 0
    return size_bytes if answer.held_bytes is None else answer.held_bytes
