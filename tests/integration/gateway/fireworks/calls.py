"""Calls of the API of Fireworks, and what the extractor and the validator answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from libs.contracts import ArchiveExtracted, Event, StoredFile, UploadOpened
from libs.contracts.keys import member_key
from tests.integration.gateway.harness import FILES, PROJECT, Uploads

MODELS = "accounts/test/models"


@dataclass
class Fireworks:
    """A gateway as a client of Fireworks uses it."""

    uploads: Uploads

    async def call(self, method: str, path: str = "", status: int = 200, **request: Any) -> dict[str, Any]:
        return await self.uploads.call(method, f"{MODELS}{path}", status, **request)

    async def create(self, name: str = "tiny", files: dict[str, bytes] = FILES, **model: Any) -> dict[str, Any]:
        details = {"checkpointFormat": "HUGGINGFACE", "worldSize": 1, "huggingfaceFiles": list(files)}
        body = {"modelId": name, "model": {"kind": "HF_BASE_MODEL", "baseModelDetails": details, **model}}
        return await self.call("POST", json=body)

    async def urls(self, files: dict[str, bytes] = FILES, name: str = "tiny", **more: Any) -> dict[str, str]:
        body = {"filenameToSize": {path: len(data) for path, data in files.items()}, **more}
        answer = await self.call("POST", f"/{name}:getUploadEndpoint", json=body)
        found: dict[str, str] = answer["filenameToSignedUrls"]
        return found

    async def put(self, url: str, data: bytes, status: int = 200, **headers: str) -> dict[str, Any]:
        """To storage, or to the gateway if the URL is one of its own; without a key."""
        headers = {"Content-Type": "application/octet-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with (
            aiohttp.ClientSession() as session,
            session.put(URL(url, encoded=True), data=data, headers=headers, allow_redirects=False) as response,
        ):
            assert response.status == status, await response.text()
            answer = await response.json() if response.content_type == "application/json" else {}
            return {**answer, "range": response.headers.get("Range")}

    async def put_all(self, files: dict[str, bytes] = FILES, name: str = "tiny") -> None:
        urls = await self.urls(files, name)
        for path, data in files.items():
            await self.put(urls[path], data)

    async def validate(
        self, name: str = "tiny", status: int = 200, wait_s: float = 0, query: str = ""
    ) -> dict[str, Any]:
        """The answer of validateUpload; its error, if it is one."""
        headers = {"Prefer": f"wait={wait_s:.0f}"}
        answer = await self.call("GET", f"/{name}:validateUpload{query}", status, headers=headers)
        found: dict[str, Any] = answer.get("error", answer)
        return found

    async def begun(self) -> bool:
        """Whether the extractor was asked for something."""
        return bool(await self.uploads.emitted(UploadOpened))

    async def extract(self) -> None:
        """What the extractor does about every file that it was asked for, as far as storage has it."""
        blobs = self.uploads.dependencies.blobs
        for opened in await self.uploads.emitted(UploadOpened):
            stream = opened.stream
            assert stream.format == "staged"
            assert stream.key is not None
            content = await blobs.read(stream.key, 0, stream.size_bytes)
            key = member_key(PROJECT, stream.upload_id, stream.number, 1, 0)
            await blobs.put_bytes(key, content)
            file = StoredFile(
                path=stream.path or "",
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                key=key,
            )
            await self.deliver(
                ArchiveExtracted(upload_id=stream.upload_id, stream_id=stream.id, files=[file], at=now())
            )

    async def deliver(self, event: Event) -> None:
        await self.uploads.deliver(event)

    async def ready(self, files: dict[str, bytes] = FILES, name: str = "tiny") -> None:
        """A model that is READY."""
        await self.create(name, files)
        await self.put_all(files, name)
        await self.validate(name, 400)
        await self.extract()
        model = await self.uploads.call("GET", f"models/{name}")
        await self.uploads.validate(model["id"])
        assert await self.validate(name) == {}


def now() -> datetime:
    return datetime.now(UTC)
