"""Which bytes of a file a Range header asks for."""

from __future__ import annotations

import pytest
from aiohttp import web

from services.gateway.models.download import requested_range


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
def test_one_byte_range_is_served_and_other_forms_get_the_whole(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert requested_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-2", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(web.HTTPRequestRangeNotSatisfiable):
        requested_range(header, 10)
