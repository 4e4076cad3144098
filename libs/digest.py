"""SHA-256, CRC-32 and size of a stream while it passes.

Hashing costs more than moving (about 390 MB/s a core), so it runs in threads, one for each core, one chunk behind the
reader: a chunk is handed on at once, and is hashed while it is being sent and the next one is being received.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from isal import isal_zlib

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

CHUNK_BYTES = 1024 * 1024  # large enough that a thread's hand-over (0.1 ms) is small beside hashing it (2.6 ms)
LEAST_CHUNK_BYTES = 128 * 1024  # the least that is worth a hand-over
SHARED_BYTES = 8 * 1024 * 1024  # one chunk of each body of this process, together
_INLINE_BYTES = 32 * 1024  # hashed faster than handed to a thread

_threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="digest")


class Digest:
    """Iterate over it instead of over `body`: the same bytes, in larger chunks, hashed on the way.

    Holds at most two chunks, of 1 MiB for a body that is alone. They shrink as more bodies pass at a time, so that all
    of them together take what a few would. Iterate once.
    """

    _passing = 0  # bodies at this moment

    def __init__(self, body: AsyncIterable[bytes], after: Hash | None = None) -> None:
        """`after` is the hash of what came before the body, which is not changed: the digest is of both together."""
        self.size_bytes = 0  # handed on so far
        self._body = body
        self._hash = hashlib.sha256() if after is None else after.copy()
        self._crc32 = 0

    @property
    def sha256(self) -> str:
        """Lower-case hex; of the whole body once the iteration has ended."""
        return self._hash.hexdigest()

    @property
    def crc32(self) -> str:
        """CRC-32 (IEEE, as zlib's) in 8 lower-case hex digits; of the whole body once the iteration has ended."""
        return f"{self._crc32:08x}"

    @property
    def hash(self) -> Hash:
        """What may be gone on with, once the iteration has ended."""
        return self._hash

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises: whatever the body raises."""
        hashed: asyncio.Future[None] | None = None
        Digest._passing += 1
        try:
            async for chunk in rechunked(self._body, chunk_bytes):
                if hashed is not None:
                    await hashed
                hashed = self._update_beside(chunk)
                self.size_bytes += len(chunk)
                yield chunk
            if hashed is not None:
                await hashed
        finally:
            Digest._passing -= 1

    def _update_beside(self, chunk: bytes) -> asyncio.Future[None] | None:
        if len(chunk) <= _INLINE_BYTES:
            self._update(chunk)
            return None
        return asyncio.get_running_loop().run_in_executor(_threads, self._update, chunk)

    def _update(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._crc32 = isal_zlib.crc32(chunk, self._crc32)


def chunk_bytes() -> int:
    """How large the chunks of a body are now, at least."""
    return max(LEAST_CHUNK_BYTES, min(CHUNK_BYTES, SHARED_BYTES // max(1, Digest._passing)))


async def rechunked(body: AsyncIterable[bytes], least_bytes: int | Callable[[], int]) -> AsyncGenerator[bytes, None]:
    """The same bytes in chunks of at least `least_bytes`, except for the last; empty chunks are left out."""
    gathered: list[bytes] = []
    size = 0
    async for piece in body:
        gathered.append(piece)
        size += len(piece)
        if size >= (least_bytes if isinstance(least_bytes, int) else least_bytes()):
            chunk = gathered[0] if len(gathered) == 1 else b"".join(gathered)
            gathered, size = [], 0
            yield chunk
    if size:
        yield b"".join(gathered)
