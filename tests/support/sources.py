"""Stores that are not ours, for imports: what is in them, and how they are named to Slipway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from libs.blobs import Blobs
from libs.remote import S3Credentials

FOLDER = "models/tiny"


@dataclass
class Source:
    """A bucket of an S3 server; what an import names is its folder FOLDER."""

    blobs: Blobs
    bucket: str
    endpoint: str
    credentials: S3Credentials

    @property
    def source(self) -> str:
        return f"s3://{self.bucket}/{FOLDER}"

    def secret(self, name: str = "source") -> dict[str, Any]:
        """The body of POST secrets."""
        return {
            "name": name,
            "type": "s3",
            "access_key_id": self.credentials.access_key_id,
            "secret_access_key": self.credentials.secret_access_key,
        }

    def wanted(self, name: str = "tiny", **more: Any) -> dict[str, Any]:
        """The body of POST uploads/import."""
        told = {"model_name": name, "source": self.source, "endpoint": self.endpoint, "secret": "source"}
        return told | more

    async def put(self, files: Mapping[str, bytes], folder: str = FOLDER) -> None:
        """Store files in a folder."""
        for path, content in files.items():
            await self.blobs.put_bytes(f"{folder}/{path}", content)


@asynccontextmanager
async def source_at(url: str) -> AsyncIterator[Source]:
    """The bucket of an S3 URL, as `libs.blobs` takes it."""
    parts = urlsplit(url)
    credentials = S3Credentials(
        access_key_id=unquote(parts.username or ""), secret_access_key=unquote(parts.password or "")
    )
    async with Blobs.open(url) as blobs:
        yield Source(blobs, parts.path.strip("/"), f"http://{parts.netloc.rpartition('@')[2]}", credentials)
