"""Two buckets as one: readers find an object in either, also while it is being moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from deploy.local import server
from libs.blobs import Blobs, Removal
from libs.blobs.transfer import transfer
from libs.blobs.transport import Refused
from libs.errors import Invalid, ObjectNotFound, Unavailable
from tests.integration.blobs.contents import MIB, content
from tests.support.eventually import eventually
from tests.support.stack import Stack
from tests.support.stores import nanio


@pytest.fixture(scope="module")
def other_store(stack: Stack) -> Iterator[str]:
    """Another server: a URL that lacks the bucket."""
    store = nanio(stack.directory / "nanio-tiers")
    process = stack.wait(server.start(store))
    yield store.url
    stack.wait(process.stop(within_s=30))


@pytest.fixture(params=["the same server", "another server"])
async def both(stack: Stack, namespace: str, request: pytest.FixtureRequest) -> AsyncIterator[Blobs]:
    """A hot and a cold bucket, empty; the cold one on either server."""
    here = request.param == "the same server"
    cold_url = stack.bucket_url(f"{namespace}cold") if here else request.getfixturevalue("other_store") + namespace
    async with Blobs.open(stack.bucket_url(namespace), cold_url=cold_url) as both:
        assert await both.tiers["cold"].ping()
        yield both
    stack.remove_bucket(namespace)
    if here:
        stack.remove_bucket(f"{namespace}cold")


async def test_readers_find_an_object_in_either_tier(both: Blobs) -> None:
    """Whole, by range, and its size; writers and lists see the hot one."""
    await both.tiers["cold"].put_bytes("key", b"0123456789")
    assert await both.read("key", 2, 3) == b"234"
    assert b"".join([chunk async for chunk in both.get("key")]) == b"0123456789"
    info = await both.head("key")
    assert info is not None
    assert info.size_bytes == 10
    assert [each async for each in both.list()] == []
    await both.put_bytes("key", b"hot")
    assert await both.read("key", 0, 9) == b"hot"
    assert [each.key async for each in both.tiers["hot"].list()] == ["key"]


async def test_what_is_in_neither_tier_is_not_found(both: Blobs) -> None:
    assert await both.head("nothing") is None
    with pytest.raises(ObjectNotFound):
        await both.read("nothing", 0, 1)


async def test_a_cold_tier_that_is_away_hides_nothing(stack: Stack, namespace: str) -> None:
    """An object that may be there is unavailable, not missing; what is hot is read as ever."""
    away = "http://key:secret@127.0.0.1:9/cold"
    async with Blobs.open(stack.bucket_url(namespace), cold_url=away) as blobs:
        await blobs.put_bytes("hot", b"x")
        assert await blobs.read("hot", 0, 1) == b"x"
        with pytest.raises(Unavailable):
            await blobs.read("cold", 0, 1)
        with pytest.raises(Unavailable):
            await blobs.head("cold")
    stack.remove_bucket(namespace)


async def test_deleting_is_from_both_tiers(both: Blobs) -> None:
    for bucket in both.tiers.values():
        await bucket.put_bytes("key", b"x")
    await both.delete(["key"])
    assert await both.head("key") is None


@pytest.mark.parametrize("direction", [("hot", "cold"), ("cold", "hot")])
async def test_a_reader_goes_on_in_the_other_tier(both: Blobs, direction: tuple[str, str]) -> None:
    """The object is moved while it is being read, whichever way, and again: no byte is lost or read twice."""
    data = content(20 * MIB)
    tiers = {str(name): bucket for name, bucket in both.tiers.items()}
    source, target = (tiers[name] for name in direction)
    await source.put_bytes("key", data)
    read = bytearray()
    async with aclosing(both.get("key")) as chunks:
        async for chunk in chunks:
            if not read:
                await transfer(source, target, "key", size_bytes=len(data), sha256=sha256(data).hexdigest())
                await source.delete(["key"])
            read += chunk
    assert read == data


async def test_a_reader_looks_again_where_the_object_came_back_to(both: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoted between the look in the hot tier, which finds nothing, and that in the cold one."""
    hot, cold = both.tiers["hot"], both.tiers["cold"]
    await cold.put_bytes("key", b"x")
    opened = cold._transport.open

    @asynccontextmanager
    async def promoted_before(*args: Any, **named: Any) -> AsyncIterator[Any]:
        monkeypatch.undo()
        await hot.put_bytes("key", b"x")
        await cold.delete(["key"])
        async with opened(*args, **named) as response:
            yield response

    for read in (lambda: both.read("key", 0, 1), lambda: both.head("key")):
        monkeypatch.setattr(cold._transport, "open", promoted_before)
        assert await read() is not None
        await cold.put_bytes("key", b"x")
        await hot.delete(["key"])


async def test_a_transfer_of_other_content_shows_nothing(both: Blobs) -> None:
    """Neither one of a wrong size, nor of a wrong digest where the bytes come this way; nor of what is not there."""
    hot, cold = both.tiers["hot"], both.tiers["cold"]
    data = content(17 * MIB)
    await hot.put_bytes("key", data)
    right = sha256(data).hexdigest()
    wrong = [(len(data) - 1, right), (len(data) + 1, right)]
    if not cold._transport.address.is_beside(hot._transport.address):
        wrong.append((len(data), "0" * 64))
    for size_bytes, digest in wrong:
        with pytest.raises(Invalid):
            await transfer(hot, cold, "key", size_bytes=size_bytes, sha256=digest)
    with pytest.raises(ObjectNotFound):
        await transfer(hot, cold, "nothing", size_bytes=1, sha256=right)
    assert [each async for each in cold.list()] == []
    await transfer(hot, cold, "key", size_bytes=len(data), sha256=right)
    assert b"".join([chunk async for chunk in cold.get("key")]) == data


async def test_a_removal_is_refused_after_its_time(both: Blobs) -> None:
    """Whoever was paused for too long before sending it deletes nothing. In time it may be sent twice."""
    for bucket in both.tiers.values():
        await bucket.put_bytes("key", b"x")
        expired = bucket.removal("key", valid_s=1)

        async def no_longer_valid(bucket: Blobs = bucket, expired: Removal = expired) -> bool:
            await bucket.put_bytes("key", b"x")
            try:
                await bucket.remove(expired)
            except Refused as refused:
                return refused.status == 403
            return False

        await eventually(no_longer_valid)
        assert await bucket.head("key") is not None
        in_time = bucket.removal("key", valid_s=300)
        await bucket.remove(in_time)
        await bucket.remove(in_time)
        assert await bucket.head("key") is None


async def test_uploads_of_one_key_are_aborted(both: Blobs) -> None:
    """And not those of keys that begin with it."""
    cold = both.tiers["cold"]
    for key in ("m0-1-1", "m0-1-10"):
        await cold.begin_multipart(key)
    assert await cold.abort_multiparts("m0-1-1", only=["m0-1-1"]) == 1
    assert await cold.abort_multiparts("") == 1
