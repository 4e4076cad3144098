"""`Content-Range` of requests."""

from __future__ import annotations

from services.gateway.uploads.receiving import Span, parse_content_range


def test_content_range_is_read_as_the_rfc_writes_it() -> None:
    assert parse_content_range("bytes 0-99/1000") == Span(0, 100, 1000)
    assert parse_content_range("Bytes */1000") == Span(0, 0, 1000, asks=True)
