"""Bodies of exactly the size that was declared; parts of a size that fits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from libs.blobs.multipart import MAX_PARTS, PART_BYTES, part_bytes
from libs.blobs.outgoing import exactly, slices
from libs.errors import Invalid


async def body(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def sent(chunks: Sequence[bytes], size_bytes: int, into: list[bytes]) -> None:
    async for chunk in exactly(body(chunks), size_bytes):
        into.append(bytes(chunk))


@pytest.mark.parametrize("chunks", [[], [b""], [b"a"], [b"a", b"", b"bc", b""], [b"", b"abc"]])
async def test_a_body_of_its_size_passes(chunks: list[bytes]) -> None:
    """Empty chunks are left out: on the wire they would end a chunked body."""
    passed: list[bytes] = []
    await sent(chunks, len(b"".join(chunks)), passed)
    assert passed == [chunk for chunk in chunks if chunk]


@pytest.mark.parametrize("chunks", [[b"ab"], [b"ab", b"c"], [b"abcde"], [b"ab", b"cd", b"e"], [b"abcd", b"", b"e"]])
async def test_a_body_of_another_size_never_passes_whole(chunks: list[bytes]) -> None:
    """What was sent before the error is too little for the server to store."""
    passed: list[bytes] = []
    with pytest.raises(Invalid, match="declared"):
        await sent(chunks, 4, passed)
    assert len(b"".join(passed)) < 4


def test_slices_are_views() -> None:
    """No copy of what is in memory already."""
    data = bytearray(3 * 1024 * 1024 + 1)
    views = list(slices(data))
    assert [len(view) for view in views] == [1024 * 1024] * 3 + [1]
    assert all(view.obj is data for view in views)


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES * MAX_PARTS, PART_BYTES * MAX_PARTS + 1, 5 * 1024**4])
def test_parts_are_few_enough(size_bytes: int) -> None:
    """S3 allows 10,000; and no part is smaller than 16 MiB."""
    assert part_bytes(size_bytes) >= PART_BYTES
    assert -(-size_bytes // part_bytes(size_bytes)) <= MAX_PARTS


def test_parts_stay_small_for_as_long_as_they_can() -> None:
    assert part_bytes(PART_BYTES * MAX_PARTS) == PART_BYTES
    assert part_bytes(None) == PART_BYTES
