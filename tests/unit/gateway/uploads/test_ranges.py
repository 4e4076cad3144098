"""Part numbers as inclusive ranges."""

from __future__ import annotations

import pytest

from services.gateway.uploads.ranges import missing_ranges, ranges


@pytest.mark.parametrize(
    ("stored", "total", "missing"),
    [
        ([], 3, [(0, 2)]),
        ([0, 1, 2], 3, []),
        ([1], 3, [(0, 0), (2, 2)]),
        ([0, 1, 4, 6], 9, [(2, 3), (5, 5), (7, 8)]),
        ([], 0, []),
    ],
)
def test_missing_parts_are_told_as_inclusive_ranges(
    stored: list[int], total: int, missing: list[tuple[int, int]]
) -> None:
    assert missing_ranges(stored, total) == missing


def test_ranges_join_neighbours() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == [(0, 2), (5, 5), (7, 8)]
