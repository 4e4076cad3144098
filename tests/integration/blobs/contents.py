"""Bodies for the tests of object storage."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

MIB = 1024 * 1024


def content(size_bytes: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere."""
    return random.Random(seed).randbytes(size_bytes)


async def in_chunks(data: bytes, chunk_bytes: int = 300_000, *, then: Exception | None = None) -> AsyncIterator[bytes]:
    """`data` as it would come from a client; `then` is raised at its end."""
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]
    if then is not None:
        raise then
