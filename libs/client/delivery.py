"""Sends bytes and checks that the server stored the same bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from libs.client.errors import ApiError, LocalProblem
from libs.client.files import FileSlice


class Stored(Protocol):
    """A response that has the SHA-256 of what the server stored."""

    @property
    def checksum(self) -> str: ...


async def deliver(
    piece: FileSlice, send: Callable[[FileSlice, str], Awaitable[Stored]], sha256: str | None = None
) -> None:
    """Send `piece` with its checksum (`sha256`, or computed first) and compare the answer's.

    Bytes that were damaged on the way are hashed and sent once more.
    Raises: LocalProblem if the file changed meanwhile, or the server stored other bytes; ApiError; Unreachable.
    """
    checksum = sha256 or await piece.sha256()
    try:
        stored = await send(piece, checksum)
    except ApiError as error:
        if error.code != "checksum_mismatch":
            raise
        if await piece.sha256() != checksum:
            raise LocalProblem(f"{piece.path} changed while it was being sent. Run the command again.") from error
        stored = await send(piece, checksum)
    if stored.checksum != checksum:
        raise LocalProblem(
            f"The server stored other bytes of {piece.path} than were sent. Abort the upload and start it again."
        )
