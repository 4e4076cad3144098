"""Copies an object from one bucket to another, byte by byte, which may be on another server."""

from __future__ import annotations

from contextlib import aclosing

from libs.blobs.blobs import Blobs
from libs.digest import Digest
from libs.errors import Invalid


async def transfer(source: Blobs, target: Blobs, key: str, *, size_bytes: int, sha256: str) -> None:
    """Read an object from one bucket and write it under the same key into another, in the memory of two parts.

    It is visible there as a whole, or not at all; if it has another digest than `sha256`, not at all.
    Raises: ObjectNotFound if `source` has none; Unavailable; Invalid if it is not of that size and digest.
    """
    async with target.writer(key, size_bytes) as writer, aclosing(source.get(key)) as body:
        digest = Digest(body)
        async for chunk in digest:
            await writer.write(chunk)
        if digest.sha256 != sha256:
            raise Invalid(f"The content of {key} has the SHA-256 {digest.sha256} instead of {sha256}.")
