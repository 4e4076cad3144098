"""Base URLs as people give them."""

from __future__ import annotations

import pytest
from yarl import URL

from libs.client import Unreachable
from libs.client.transport import Transport


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1/proj_A/v1", "http://h:1/proj_A/v1"),
        ("http://h:1/proj_A/v1/", "http://h:1/proj_A/v1"),
        ("https://h", "https://h/v1"),  # the key names the project
        ("https://h/", "https://h/v1"),
    ],
)
async def test_base_urls(given: str, base: str) -> None:
    transport = Transport(given, None)
    await transport.close()

    assert transport.base == URL(base)


@pytest.mark.parametrize("given", ["", "localhost:8080", "ftp://h/v1"])
async def test_no_base_url(given: str) -> None:
    with pytest.raises(Unreachable, match="is no base URL; it looks like"):
        Transport(given, None)
