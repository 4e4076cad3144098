"""The gateway on real Postgres, NATS and S3 in the process of a test, and events as other services send them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aiohttp.test_utils import TestClient

from libs.contracts import (
    ArchiveExtracted,
    Event,
    ModelMetadata,
    ModelValidated,
    ModelValidationRequested,
    Report,
    StoredFile,
)
from libs.contracts.keys import member_key
from libs.db import Pool
from services.gateway.dependencies import Dependencies
from services.gateway.handlers import handlers
from tests.support import emitted
from tests.support.delivery import deliver, deliver_dead

E = TypeVar("E", bound=Event)

PROJECT = "proj_TESTTEST01"
NOON = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)
CHUNK = 1000  # bytes of a part, as the fixture sets it
STALE_AFTER = timedelta(seconds=30)  # the setting, by default
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100}


@dataclass
class Uploads:
    """A gateway as a test uses it: requests to its routes, events delivered to it, and events that it emitted."""

    client: TestClient[Any, Any]
    dependencies: Dependencies

    @property
    def pool(self) -> Pool:
        return self.dependencies.pool

    async def call(self, method: str, path: str, status: int = 200, **request: Any) -> dict[str, Any]:
        """The JSON answer of one request, which must have this status."""
        async with self.client.request(method, f"/v1/{path}", **request) as response:
            body: dict[str, Any] = await response.json()
            assert response.status == status, body
            return body

    async def open_archive(self, size: int, name: str = "tiny", **more: Any) -> dict[str, Any]:
        body = {"model_name": name, "archive_size": size, "archive_format": "tar", **more}
        return await self.call("POST", "uploads/archive", json=body)

    async def open_directory(self, files: dict[str, bytes], name: str = "tiny", **more: Any) -> dict[str, Any]:
        listed = [{"relative_path": path, "size": len(data)} for path, data in files.items()]
        return await self.call("POST", "uploads/directory", json={"model_name": name, "files": listed, **more})

    async def send_part(self, session: str, number: int, data: bytes, status: int = 200) -> dict[str, Any]:
        return await self.call("POST", f"uploads/{session}/parts?part_number={number}", status, data=data)

    async def send_file(self, session: str, path: str, data: bytes, status: int = 200) -> dict[str, Any]:
        return await self.call("POST", f"uploads/{session}/files/{path}", status, data=sent(data))

    async def append(
        self, session: str, path: str, span: str, data: Any = b"", status: int = 308, **headers: str
    ) -> dict[str, Any]:
        """PUT with `Content-Range: bytes {span}`; the answer with its Range header."""
        headers = {"Content-Range": f"bytes {span}", **{name.replace("_", "-"): v for name, v in headers.items()}}
        url = f"/v1/uploads/{session}/files/{path}"
        async with self.client.put(url, data=sent(data), headers=headers, allow_redirects=False) as response:
            body = await response.json()
            assert response.status == status, body
            return {**body, "range": response.headers.get("Range")}

    async def sha256(self, key: str) -> str:
        """Of what is stored under a key."""
        digest = hashlib.sha256()
        async for chunk in self.dependencies.blobs.get(key):
            digest.update(chunk)
        return digest.hexdigest()

    async def complete(self, session: str, status: int = 200, wait_s: int = 0) -> dict[str, Any]:
        return await self.call("POST", f"uploads/{session}/complete", status, headers={"Prefer": f"wait={wait_s}"})

    async def upload_directory(self, files: dict[str, bytes], name: str = "tiny") -> dict[str, Any]:
        """A directory sent and completed; its answer."""
        session = (await self.open_directory(files, name))["session_id"]
        for path, data in files.items():
            await self.send_file(session, path, data)
        return await self.complete(session)

    async def model(self, model_id: str) -> dict[str, Any]:
        return await self.call("GET", f"models/{model_id}?extended=true")

    async def stored(self) -> dict[str, int]:
        """Every object in the bucket and its size."""
        return {found.key: found.size_bytes async for found in self.dependencies.blobs.list("")}

    async def emitted(self, kind: type[E]) -> list[E]:
        """The events of this type that were emitted so far, in order; `Event` for all."""
        return [event for event in await emitted(self.pool) if isinstance(event, kind)]

    async def deliver(self, event: Event) -> None:
        """Apply `event` as the gateway's consumer does."""
        await deliver(self.pool, handlers, event)

    async def give_up(self, event: Event, consumer: str, reason: str = "ZeroDivisionError: division by zero") -> None:
        """Apply the dead letter of `event`, which another service gave up, as the gateway's consumer does."""
        await deliver_dead(self.pool, handlers, event, at=NOON, consumer=consumer, reason=reason)

    async def validate(self, model_id: str) -> None:
        """Give the verdict that the model waits for: all is well."""
        requests = await self.emitted(ModelValidationRequested)
        asked = [event for event in requests if event.model_id == model_id]
        report = Report(findings=[], metadata=ModelMetadata(), files_read=1, bytes_read=1, validator="test")
        verdict = ModelValidated(model_id=model_id, validation_id=asked[-1].validation_id, report=report, at=NOON)
        await self.deliver(verdict)


def stored_files(upload_id: str, files: dict[str, bytes] = FILES) -> list[StoredFile]:
    """`files` as the extractor would report them."""
    return [
        StoredFile(
            path=path,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            key=member_key(PROJECT, upload_id, 0, 1, number),
        )
        for number, (path, data) in enumerate(files.items())
    ]


def extracted(upload_id: str, files: dict[str, bytes] = FILES) -> ArchiveExtracted:
    """The extractor's word that the archive is unpacked."""
    return ArchiveExtracted(
        upload_id=upload_id, stream_id=f"{upload_id}-0", files=stored_files(upload_id, files), at=NOON
    )


def sent(data: Any) -> Any:
    """A body as aiohttp wants it: bytes from a file, since many at once would hold its loop up."""
    return io.BytesIO(data) if isinstance(data, bytes) else data


def part(number: int, size: int = CHUNK) -> bytes:
    """A part unlike any other."""
    return bytes([number]) * size
