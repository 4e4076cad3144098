"""Upload sessions of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from libs.client.answers import (
    ArchiveOpened,
    Completed,
    DirectoryOpened,
    FileStored,
    Page,
    PartStored,
    Session,
)
from libs.client.transport import Body, Transport
from libs.contracts.entities import Format

T = TypeVar("T", ArchiveOpened, DirectoryOpened)

_PATIENCE_S = 90.0  # a transfer outlives a restart of the server
_PAGE = "100"


class Uploads:
    """`uploads` of the public API; every call raises ApiError or Unreachable."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def open_archive(
        self, model_name: str, archive_size: int, archive_format: Format, *, version: str | None = None
    ) -> ArchiveOpened:
        """Open a session for an archive of `archive_size` bytes."""
        wanted: dict[str, Any] = {
            "model_name": model_name,
            "archive_size": archive_size,
            "archive_format": archive_format,
        }
        return await self._open("uploads/archive", wanted, version, ArchiveOpened)

    async def open_directory(
        self, model_name: str, files: Sequence[tuple[str, int, str]], *, version: str | None = None
    ) -> DirectoryOpened:
        """Open a session for `files`: (relative path, size in bytes, sha256)."""
        manifest = [{"relative_path": path, "size": size, "sha256": sha256} for path, size, sha256 in files]
        return await self._open(
            "uploads/directory", {"model_name": model_name, "files": manifest}, version, DirectoryOpened
        )

    async def _open(self, path: str, wanted: dict[str, Any], version: str | None, returns: type[T]) -> T:
        if version is not None:
            wanted["version"] = version
        return await self._transport.call("POST", path, returns, json=wanted, repeatable=False)

    async def send_part(self, session_id: str, number: int, body: Body, checksum: str) -> PartStored:
        """Send part `number` (0-based) of an archive; `checksum` is its SHA-256 in hex."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/parts",
            PartStored,
            query={"part_number": str(number)},
            body=body,
            headers={"X-Chunk-Checksum": checksum},
            patience_s=_PATIENCE_S,
        )

    async def send_file(self, session_id: str, relative_path: str, body: Body, checksum: str) -> FileStored:
        """Send a whole file; `checksum` is its SHA-256 in hex."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/files/{quote(relative_path)}",
            FileStored,
            body=body,
            headers={"X-File-Checksum": checksum},
            patience_s=_PATIENCE_S,
        )

    async def send_file_part(
        self, session_id: str, relative_path: str, number: int, count: int, body: Body, checksum: str
    ) -> PartStored:
        """Send part `number` (0-based) of the `count` parts of one file."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/files/{quote(relative_path)}",
            PartStored,
            query={"part_number": str(number), "part_count": str(count)},
            body=body,
            headers={"X-Chunk-Checksum": checksum},
            patience_s=_PATIENCE_S,
        )

    async def complete(self, session_id: str, *, wait_s: int = 30) -> Completed:
        """Say that everything is sent; repeating it answers the same. `status` is `processing` after `wait_s`."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/complete",
            Completed,
            headers={"Prefer": f"wait={wait_s}"},
            patience_s=_PATIENCE_S,
        )

    async def get(self, session_id: str) -> Session:
        """One session, with what it has and what it misses."""
        return await self._transport.call("GET", f"uploads/{_id(session_id)}", Session)

    async def find(self, *, status: str | None = None, model_name: str | None = None) -> list[Session]:
        """The project's sessions, newest first, without their parts and files."""
        wanted = {"status": status, "model_name": model_name, "limit": _PAGE}
        query = {name: value for name, value in wanted.items() if value is not None}
        sessions: list[Session] = []
        while True:
            page = await self._transport.call("GET", "uploads", Page[Session], query=query)
            sessions += page.data
            if not page.has_more or not page.data:
                return sessions
            query["after"] = page.data[-1].session_id

    async def abort(self, session_id: str) -> None:
        """Give a session up; what it sent is removed."""
        await self._transport.call("DELETE", f"uploads/{_id(session_id)}", dict[str, Any])


def _id(text: str) -> str:
    return quote(text, safe="")
