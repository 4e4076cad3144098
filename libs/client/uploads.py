"""Upload sessions of a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from libs.client.errors import ApiError
from libs.client.files import FileSlice
from libs.client.paging import AsyncItems
from libs.client.responses import (
    ArchiveOpened,
    Completed,
    DirectoryOpened,
    FileStored,
    Page,
    PartStored,
    Session,
)
from libs.contracts.formats import ArchiveFormat

if TYPE_CHECKING:
    from libs.client.transport import Body, Transport

T = TypeVar("T", ArchiveOpened, DirectoryOpened)

PATIENCE_S = 90.0  # a transfer outlives a restart of the server
# How servers that do not know Content-Range refuse it: no such route, or a body that is not the whole file
_NO_RANGES = frozenset(
    {"unexpected_answer", "not_found", "method_not_allowed", "part_size_mismatch", "invalid_request"}
)


class Uploads:
    """`uploads` of the public API; every call raises ApiError or Unreachable."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def open_archive(
        self,
        model_name: str,
        archive_size: int,
        archive_format: ArchiveFormat,
        *,
        version: str | None = None,
        idempotency_key: str | None = None,
    ) -> ArchiveOpened:
        """Open a session for an archive of `archive_size` bytes; again with the same key, the same session."""
        wanted: dict[str, Any] = {
            "model_name": model_name,
            "archive_size": archive_size,
            "archive_format": archive_format,
        }
        return await self._open("uploads/archive", wanted, version, idempotency_key, ArchiveOpened)

    async def open_directory(
        self,
        model_name: str,
        files: Sequence[tuple[str, int, str | None]],
        *,
        version: str | None = None,
        idempotency_key: str | None = None,
    ) -> DirectoryOpened:
        """Open a session for `files`: (relative path, size in bytes, sha256 or None); again with the same key, the
        same session."""
        manifest = [
            {"relative_path": path, "size": size} | ({"sha256": sha256} if sha256 else {})
            for path, size, sha256 in files
        ]
        wanted = {"model_name": model_name, "files": manifest}
        return await self._open("uploads/directory", wanted, version, idempotency_key, DirectoryOpened)

    async def _open(
        self, path: str, wanted: dict[str, Any], version: str | None, idempotency_key: str | None, returns: type[T]
    ) -> T:
        if version is not None:
            wanted["version"] = version
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        repeatable = idempotency_key is not None  # else a lost answer would leave a second session behind
        return await self._transport.call("POST", path, returns, json=wanted, headers=headers, repeatable=repeatable)

    async def send_part(self, session_id: str, number: int, body: Body, checksum: str) -> PartStored:
        """Send part `number` (0-based) of an archive; `checksum` is its SHA-256 in hex."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/parts",
            PartStored,
            query={"part_number": str(number)},
            body=body,
            headers={"X-Chunk-Checksum": checksum},
            patience_s=PATIENCE_S,
        )

    async def send_file(self, session_id: str, relative_path: str, body: Body, sha256: str | None) -> FileStored:
        """Send a whole file in one request; `sha256` in hex, if it is known."""
        return await self._transport.call(
            "PUT",
            _file(session_id, relative_path),
            FileStored,
            body=body,
            headers={"X-File-Checksum": sha256} if sha256 else {},
            patience_s=PATIENCE_S,
        )

    async def send_range(
        self, session_id: str, relative_path: str, body: FileSlice, total_bytes: int, sha256: str | None
    ) -> FileStored:
        """Send a file of `total_bytes` from `body.offset` on, once: after an error, `ask_range` says what is held."""
        last = body.offset + body.size_bytes - 1
        headers = {"Content-Range": f"bytes {body.offset}-{last}/{total_bytes}"}
        if sha256:
            headers["X-File-Checksum"] = sha256
        return await self._range(session_id, relative_path, headers, body, patience_s=0)

    async def ask_range(self, session_id: str, relative_path: str, total_bytes: int) -> FileStored:
        """Ask how much the server holds of a file of `total_bytes` bytes."""
        headers = {"Content-Range": f"bytes */{total_bytes}"}
        return await self._range(session_id, relative_path, headers, None, patience_s=PATIENCE_S)

    async def _range(
        self, session_id: str, relative_path: str, headers: dict[str, str], body: Body | None, *, patience_s: float
    ) -> FileStored:
        path = _file(session_id, relative_path)
        try:
            return await self._transport.call(
                "PUT", path, FileStored, headers=headers, body=body, patience_s=patience_s
            )
        except ApiError as error:
            if error.status in (400, 404, 405) and error.code in _NO_RANGES:
                message = f"The server takes no files as resumable streams: it answered {error.status}. {error.message}"
                raise ApiError(
                    error.status,
                    f"{message} If it is older than this client, upgrade it, or use the client of its release.",
                    code="ranges_not_supported",
                    request_id=error.request_id,
                ) from error
            raise

    @property
    def on_retry(self) -> Callable[[str], object]:
        """Called with a sentence before a request is repeated."""
        return self._transport.on_retry

    async def complete(self, session_id: str, *, wait_s: int = 30) -> Completed:
        """Complete the session; idempotent. If it takes longer than `wait_s` seconds, `status` is `processing`."""
        return await self._transport.call(
            "POST",
            f"uploads/{_id(session_id)}/complete",
            Completed,
            headers={"Prefer": f"wait={wait_s}"},
            patience_s=PATIENCE_S,
        )

    async def get(self, session_id: str) -> Session:
        """One session with its parts or files, and those that are missing."""
        return await self._transport.call("GET", f"uploads/{_id(session_id)}", Session)

    def list(self, *, status: str | None = None, model_name: str | None = None) -> AsyncItems[Session]:
        """The project's uploads, newest first, without their parts and files; only those in a status, or of a model."""

        async def fetch(query: Mapping[str, str]) -> Page[Session]:
            return await self._transport.call("GET", "uploads", Page[Session], query=query)

        return AsyncItems(fetch, lambda session: session.session_id, status=status, model_name=model_name)

    async def abort(self, session_id: str) -> None:
        """Abort a session; what it stored is removed."""
        await self._transport.call("DELETE", f"uploads/{_id(session_id)}", dict[str, Any])


def _file(session_id: str, relative_path: str) -> str:
    return f"uploads/{_id(session_id)}/files/{quote(relative_path)}"


def _id(text: str) -> str:
    return quote(text, safe="")
