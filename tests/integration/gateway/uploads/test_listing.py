"""Uploads as clients list them."""

from __future__ import annotations

from tests.integration.gateway.harness import Uploads


async def test_uploads_are_listed_newest_first_in_pages(uploads: Uploads) -> None:
    opened = [(await uploads.open_archive(1, name=f"m{n}"))["session_id"] for n in range(3)]
    first = await uploads.call("GET", "uploads?limit=2&status=open")
    assert [each["session_id"] for each in first["data"]] == [opened[2], opened[1]]
    assert first["has_more"] is True
    rest = await uploads.call("GET", f"uploads?limit=2&after={opened[1]}")
    assert [each["session_id"] for each in rest["data"]] == [opened[0]]
    assert rest["has_more"] is False
    [named] = (await uploads.call("GET", "uploads?model_name=m1"))["data"]
    assert named["session_id"] == opened[1]
