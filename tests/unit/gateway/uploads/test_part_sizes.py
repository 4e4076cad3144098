"""How files are cut into parts: as S3 allows it, whatever their size."""

from __future__ import annotations

import pytest

from libs.blobs import MAX_PARTS, part_bytes
from services.gateway.uploads.part_sizes import equal_cut, of_archive, of_stream

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [1, 8 * MIB, 70 * 1024 * MIB, 81 * 1024 * MIB, 2 * 1024**4])
def test_a_tenth_of_the_part_numbers_is_left_for_requests_that_broke_off(size: int) -> None:
    assert of_stream(size) >= part_bytes(None)
    assert -(-size // of_stream(size)) <= MAX_PARTS * 9 // 10


@pytest.mark.parametrize(
    ("size", "number", "count", "total", "expected"),
    [
        (6 * MIB, 0, 4, 23 * MIB, 6 * MIB),
        (5 * MIB, 3, 4, 23 * MIB, 6 * MIB),  # the last one tells the size of the others
        (5 * MIB, 3, 4, 23 * MIB + 1, None),  # which is not whole
        (4 * MIB, 0, 4, 16 * MIB, None),  # too small for S3
        (12 * MIB, 0, 4, 23 * MIB, None),  # too large for an equal cut
        (None, 0, 4, 23 * MIB, None),
        (6 * MIB, 0, 9000, 9000 * 6 * MIB, None),  # no number is left to send one again
    ],
)
def test_an_equal_cut_is_told_from_its_first_chunk(
    size: int | None, number: int, count: int, total: int, expected: int | None
) -> None:
    assert equal_cut(size, number, count, total) == expected


@pytest.mark.parametrize(
    ("archive_size", "wanted", "size"),
    [
        (1, 100 * MIB, 100 * MIB),
        (MAX_PARTS * 100 * MIB, 100 * MIB, 100 * MIB),
        (MAX_PARTS * 100 * MIB + 1, 100 * MIB, 101 * MIB),
    ],
)
def test_parts_grow_rather_than_become_too_many(archive_size: int, wanted: int, size: int) -> None:
    assert of_archive(archive_size, wanted) == size
    assert -(-archive_size // size) <= MAX_PARTS
