"""The digest of a stream while it passes."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.digest import CHUNK_BYTES, LEAST_CHUNK_BYTES, SHARED_BYTES, Digest


async def in_pieces(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    """`data` cut at these sizes, over and over."""
    start = 0
    while start < len(data):
        for size in sizes:
            yield data[start : start + size]
            start += size


@given(size=st.integers(0, 3 * CHUNK_BYTES), sizes=st.lists(st.integers(1, CHUNK_BYTES), min_size=1, max_size=4))
async def test_the_same_bytes_in_large_chunks(size: int, sizes: list[int]) -> None:
    """However the network cut them; only the last chunk may be small."""
    sizes = [max(piece, size // 500) for piece in sizes]  # a byte at a time is for small bodies
    data = random.Random(size).randbytes(size)
    digest = Digest(in_pieces(data, sizes))
    chunks = [chunk async for chunk in digest]
    assert b"".join(chunks) == data
    assert all(len(chunk) >= CHUNK_BYTES for chunk in chunks[:-1])
    assert digest.size_bytes == size
    assert digest.sha256 == hashlib.sha256(data).hexdigest()
    assert digest.crc32 == f"{zlib.crc32(data):08x}"


async def test_chunks_shrink_as_bodies_grow_in_number_and_grow_again() -> None:
    """All together hold what a few would; a body that was given up counts no more than one that ended."""
    piece = 64 * 1024
    data = bytes(2 * CHUNK_BYTES)
    many = [aiter(Digest(in_pieces(data, [piece]))) for _ in range(100)]
    sizes = [len(await anext(each)) for each in many]
    assert sizes[0] == CHUNK_BYTES
    assert sizes[-1] == LEAST_CHUNK_BYTES
    assert sum(sizes) <= 4 * SHARED_BYTES
    for each in many:
        assert isinstance(each, AsyncGenerator)
        await each.aclose()
    assert len(await anext(aiter(Digest(in_pieces(data, [piece]))))) == CHUNK_BYTES


async def test_no_bytes_have_a_digest_too() -> None:
    digest = Digest(in_pieces(b"", [1]))
    assert [chunk async for chunk in digest] == []
    assert digest.sha256 == hashlib.sha256(b"").hexdigest()


async def test_what_the_body_raises_comes_out() -> None:
    class Gone(Exception):
        pass

    async def body() -> AsyncIterator[bytes]:
        yield bytes(CHUNK_BYTES)
        raise Gone

    async def read() -> None:
        async for _ in Digest(body()):
            pass

    with pytest.raises(Gone):
        await read()
