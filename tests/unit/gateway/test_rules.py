"""The gateway's pure rules, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiohttp import web

from services.gateway.models.download import requested_range
from services.gateway.models.versions import next_version
from services.gateway.presentation import content_type, percent, size_in_words, timestamp


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "1.0.0"),
        (["1.0.0"], "1.1.0"),
        (["1.9.0", "1.10.0"], "1.11.0"),
        (["2.3.4", "1.0.0"], "2.4.0"),
        (["nightly"], "1.0.0"),
        (["nightly", "1.0.0", "1.0.1-rc1"], "1.1.0"),
    ],
)
def test_next_version_is_one_minor_above_the_highest(existing, expected) -> None:
    assert next_version(existing) == expected


@pytest.mark.parametrize(("done", "total", "shown"), [(1, 7, 14.28), (7, 7, 100.0), (0, 0, 100.0), (2, 3, 66.66)])
def test_progress_is_rounded_down_so_that_100_means_all(done, total, shown) -> None:
    assert percent(done, total) == shown


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KB"), (4294967296, "4.00 GB"), (2**50, "1024.00 TB")]
)
def test_sizes_are_written_as_the_document_writes_them(size, words) -> None:
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
def test_content_type_by_ending(path, kind) -> None:
    assert content_type(path) == kind


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=2-3", (2, 2)),
        ("bytes=2-99", (2, 8)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
    ],
)
def test_one_byte_range_is_served_and_other_forms_get_the_whole(header, expected) -> None:
    assert requested_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-2", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header) -> None:
    with pytest.raises(web.HTTPRequestRangeNotSatisfiable):
        requested_range(header, 10)
