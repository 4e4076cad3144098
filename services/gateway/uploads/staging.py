"""Files that clients put into storage themselves, by signed URLs, before the upload takes them.

Such a URL can be used again at any time until it expires, so what comes by it is never what is kept: when everything
has arrived, the extractor has storage copy each file to a key of its own, and reads the copy for its sha256.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from libs.blobs import Blobs
from libs.contracts import Event, Part, PartStream, UploadOpened
from libs.contracts.keys import staged_key
from libs.db import Tx
from services.gateway.uploads import transitions
from services.gateway.uploads.store import streams
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.streams import stream_id
from services.gateway.uploads.store.uploads import Upload

LOOKS_AT_ONCE = 16


async def sizes(blobs: Blobs, upload: Upload, paths: Iterable[str]) -> dict[str, int]:
    """What is in storage of these files: path -> size in bytes; those that have not arrived are left out.

    Raises: Unavailable.
    """
    left = iter(paths)
    found: dict[str, int] = {}

    async def look() -> None:
        for path in left:
            info = await blobs.head(staged_key(upload.project_id, upload.id, path))
            if info is not None:
                found[path] = info.size_bytes

    looking = [asyncio.create_task(look()) for _ in range(LOOKS_AT_ONCE)]
    try:
        await asyncio.gather(*looking)
    finally:
        for task in looking:
            task.cancel()
        await asyncio.wait(looking)
    return found


def signed_urls(
    blobs: Blobs, upload: Upload, paths: Iterable[str], *, expires_s: int, origin: str | None
) -> Mapping[str, str]:
    """Where each file is put into storage; `origin`: the address by which clients reach it, if it is another one."""
    return {
        path: blobs.presign("PUT", staged_key(upload.project_id, upload.id, path), expires_s, origin=origin)
        for path in paths
    }


async def take(tx: Tx, upload: Upload, staged: Sequence[UploadFile], *, at: datetime) -> list[Event]:
    """Everything has arrived, these files in storage: the extractor is to copy and hash them; open -> processing.

    Emits: UploadOpened for each of them, and what `complete` does.
    Raises: PartsMissing, if something else has not arrived.
    """
    sequences = [
        PartStream(
            id=stream_id(upload.id, file.number, file.refusals),
            upload_id=upload.id,
            project_id=upload.project_id,
            model_id=upload.model_id,
            number=file.number,
            format="staged",
            size_bytes=file.size_bytes,
            total_parts=1,
            path=file.path,
            sha256=file.declared_sha256,
            key=staged_key(upload.project_id, upload.id, file.path),
        )
        for file in staged
    ]
    await streams.insert_objects(tx, sequences, due_at=at)
    opened = [
        UploadOpened(stream=stream, parts=[Part(number=0, attempt="", size_bytes=stream.size_bytes)], at=at)
        for stream in sequences
    ]
    return [*opened, *await transitions.complete(tx, upload, at=at)]
