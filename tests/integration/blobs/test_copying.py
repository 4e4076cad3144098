"""Copies that the object store makes, where it fails, or answers before it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.blobs import Blobs, copying
from libs.blobs.multipart import PART_BYTES
from libs.errors import Unavailable
from tests.integration.blobs.contents import content
from tests.integration.blobs.faulty import FaultyProxy, answered, lost_answer, passed_on
from tests.support.stack import Stack

Faulty = tuple[Blobs, FaultyProxy]


@pytest.fixture
async def faulty(stack: Stack, blobs: Blobs, namespace: str) -> AsyncIterator[Faulty]:
    """Object storage by way of a proxy that can be told to fail."""
    async with FaultyProxy.open(stack.bucket_url(namespace)) as (proxy, url), Blobs.open(url) as through:
        yield through, proxy


async def test_a_copy_that_fails_for_a_moment_is_made_again(faulty: Faulty, blobs: Blobs) -> None:
    """Also where the error comes in the body of a 200, and where the answer was lost after the copy was made."""
    through, proxy = faulty
    await blobs.put_bytes("source", b"hello")
    await proxy.arm(passed_on, answered("200 OK", "InternalError"), lost_answer())
    await through.copy("source", "copy", 5)
    assert await blobs.read("copy", 0, 9) == b"hello"


async def test_a_copy_that_is_refused_is_an_error(faulty: Faulty, blobs: Blobs) -> None:
    through, proxy = faulty
    await blobs.put_bytes("source", b"hello")
    await proxy.arm(passed_on, answered("200 OK", "AccessDenied"))
    with pytest.raises(Unavailable, match="AccessDenied"):
        await through.copy("source", "copy", 5)
    assert await blobs.head("copy") is None


async def test_a_copy_in_parts_that_fails_leaves_nothing(
    faulty: Faulty, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an object nor parts of one."""
    monkeypatch.setattr(copying, "COPY_BYTES", PART_BYTES)
    through, proxy = faulty
    data = content(2 * PART_BYTES)
    await blobs.put_bytes("source", data)
    await proxy.arm(passed_on, passed_on, answered("403 Forbidden", "AccessDenied"))
    with pytest.raises(Unavailable, match="AccessDenied"):
        await through.copy("source", "copy", len(data))
    assert await blobs.head("copy") is None
    assert await blobs.abort_multiparts("") == 0
