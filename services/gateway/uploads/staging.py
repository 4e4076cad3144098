"""Files that clients put into storage themselves, by signed URLs, before the upload takes them.

Such a URL can be used again at any time until it expires, so what comes by it is never what is kept: when everything
has arrived (`transitions.take_staged`), the extractor has storage copy each file to a key of its own, and reads the
copy for its sha256. What comes by such a URL later is removed by lifecycle: by the last pass of the purge that follows
the end of the upload, or else by an audit, once it is older than `unclaimed_parts_after_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from libs.blobs import Blobs
from libs.contracts.keys import staged_key
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
