"""Copies an object from one bucket to another: the store does, or where it cannot, this process byte by byte."""

from __future__ import annotations

from contextlib import aclosing

from libs.blobs.blobs import Blobs
from libs.digest import Digest
from libs.errors import Invalid


async def transfer(source: Blobs, target: Blobs, key: str, *, size_bytes: int, sha256: str) -> None:
    """Copy an object from one bucket to the same key of another.

    It is visible there as a whole, or not at all. Where its bytes come this way, in the memory of two parts, they are
    compared with `sha256`: if they differ, it is not visible.
    Raises: ObjectNotFound if `source` has none; Unavailable; Invalid if it is not of that size and digest.
    """
    if await target.copy_from(source, key, size_bytes):
        return
    async with target.writer(key, size_bytes) as writer, aclosing(source.get(key)) as body:
        digest = Digest(body)
        async for chunk in digest:
            await writer.write(chunk)
        if digest.sha256 != sha256:
            raise Invalid(f"The content of {key} has the SHA-256 {digest.sha256} instead of {sha256}.")
