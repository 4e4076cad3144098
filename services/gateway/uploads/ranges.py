"""Part numbers as inclusive ranges, as answers show them: [[0, 3], [5, 5]]."""

from __future__ import annotations

from collections.abc import Iterable


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as inclusive ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def missing_ranges(numbers: Iterable[int], total: int) -> list[tuple[int, int]]:
    """What is missing from 0 … total - 1, given the ascending `numbers` that are there."""
    missing: list[tuple[int, int]] = []
    expected = 0
    for first, last in ranges(numbers):
        if first > expected:
            missing.append((expected, first - 1))
        expected = last + 1
    if expected < total:
        missing.append((expected, total - 1))
    return missing
