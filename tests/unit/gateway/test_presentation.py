"""Formats of values in responses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.gateway.presentation import content_type, percent, size_in_words, timestamp


@pytest.mark.parametrize(("done", "total", "shown"), [(1, 7, 14.28), (7, 7, 100.0), (0, 0, 100.0), (2, 3, 66.66)])
def test_progress_is_rounded_down_so_that_100_means_all(done: float, total: float, shown: float) -> None:
    assert percent(done, total) == shown


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KB"), (4294967296, "4.00 GB"), (2**50, "1024.00 TB")]
)
def test_sizes_are_written_as_the_document_writes_them(size: int, words: str) -> None:
    assert size_in_words(size) == words


def test_timestamps_are_utc_with_whole_seconds() -> None:
    assert timestamp(datetime(2026, 1, 15, 10, 30, 0, 999_999, tzinfo=UTC)) == "2026-01-15T10:30:00Z"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("config.json", "application/json"),
        ("model.safetensors", "application/octet-stream"),
        ("pytorch_model.bin", "application/octet-stream"),
        ("README.md", "text/markdown"),
        ("LICENSE", "application/octet-stream"),
    ],
)
def test_content_type_by_ending(path: str, kind: str) -> None:
    assert content_type(path) == kind
