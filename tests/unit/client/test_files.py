"""Ranges of files as bodies that can be sent again."""

from __future__ import annotations

import hashlib
import zlib
from contextlib import aclosing
from pathlib import Path

import pytest

from libs.client import FileSlice, LocalProblem

CONTENT = bytes(range(256)) * 10_000  # 2.56 MB: more than two reads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(("offset", "size"), [(0, len(CONTENT)), (1, 0), (1000, 2_000_001), (len(CONTENT) - 1, 1)])
async def test_sends_and_hashes_exactly_its_range(path: Path, offset: int, size: int) -> None:
    piece = FileSlice(path, offset, size)

    sent = b"".join([chunk async for chunk in piece])

    assert sent == CONTENT[offset : offset + size]
    assert await piece.sha256() == hashlib.sha256(sent).hexdigest()
    assert piece.crc32 == (f"{zlib.crc32(sent):08x}" if sent else None)


async def test_repeated_pass_takes_back_what_it_had_counted(path: Path) -> None:
    """Progress never exceeds the size, however often a transfer breaks."""
    moved: list[int] = []
    piece = FileSlice(path, 0, len(CONTENT), moved.append)
    async with aclosing(piece.__aiter__()) as first:
        await anext(first)
        await anext(first)  # the first chunk counts once the second is asked for

    async for _ in piece:
        assert sum(moved) <= len(CONTENT)

    assert sum(moved) == len(CONTENT)


async def test_file_that_became_shorter_is_told(path: Path) -> None:
    """An HTTP client calls this a broken connection, so the reason is kept beside."""
    piece = FileSlice(path, 0, len(CONTENT) + 1)

    with pytest.raises(LocalProblem, match="became shorter"):
        async for _ in piece:
            pass

    assert piece.failure is not None


async def test_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match=r"Cannot read .*: No such file or directory"):
        await FileSlice(tmp_path / "gone", 0, 1).sha256()
