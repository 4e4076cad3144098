"""Whatever the object store does, the caller hears of it soon, and by the right name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psutil
import pytest

from libs.blobs import Blobs
from libs.blobs.multipart import PART_BYTES
from libs.errors import Unavailable
from tests.integration.blobs.contents import MIB, content, in_chunks
from tests.integration.blobs.faulty import (
    Fault,
    FaultyProxy,
    answered,
    cut_answer,
    cut_request,
    deaf,
    lost_answer,
    mute,
)
from tests.support.eventually import eventually
from tests.support.stack import Stack

STALL_S = 1.0


@dataclass
class Faulty:
    """Object storage by way of a proxy that can be told to fail."""

    blobs: Blobs
    proxy: FaultyProxy


@pytest.fixture
async def faulty(stack: Stack, blobs: Blobs, namespace: str, request: pytest.FixtureRequest) -> AsyncIterator[Faulty]:
    """Patient; of little patience where the test says so by `parametrize("faulty", [STALL_S], indirect=True)`."""
    async with (
        FaultyProxy.open(stack.bucket_url(namespace)) as (proxy, url),
        Blobs.open(url, stall_s=getattr(request, "param", 30.0)) as through,
    ):
        yield Faulty(through, proxy)


async def test_a_read_goes_on_where_it_broke_off(faulty: Faulty, blobs: Blobs) -> None:
    """Each connection brings a little; the bytes come out once each, in order."""
    data = content(9 * MIB)
    await blobs.put_bytes("key", data)
    await faulty.proxy.arm(*(cut_answer(after_bytes=2 * MIB) for _ in range(4)))
    assert b"".join([chunk async for chunk in faulty.blobs.get("key", 7)]) == data[7:]
    assert faulty.proxy.connections == 5


async def test_a_read_never_mixes_two_versions(faulty: Faulty, blobs: Blobs) -> None:
    """The object was replaced while the connection was being opened again."""
    await blobs.put_bytes("key", content(5 * MIB, seed=1))
    await faulty.proxy.arm(cut_answer(after_bytes=2 * MIB))
    chunks = faulty.blobs.get("key")
    got = [await anext(chunks)]
    await blobs.put_bytes("key", content(5 * MIB + 1, seed=2))

    async def go_on() -> None:
        async for chunk in chunks:
            got.append(chunk)

    with pytest.raises(Unavailable, match="replaced"):
        await go_on()
    assert content(5 * MIB, seed=1).startswith(b"".join(got))


async def test_a_read_that_gets_nowhere_ends(faulty: Faulty, blobs: Blobs) -> None:
    """Five times nothing is enough."""
    await blobs.put_bytes("key", b"x")
    await faulty.proxy.arm(*(lost_answer() for _ in range(20)))
    with pytest.raises(Unavailable):
        await faulty.blobs.read("key", 0, 1)


async def test_small_requests_are_repeated(faulty: Faulty) -> None:
    """Trouble that passes within seconds is nobody's business."""
    await faulty.proxy.arm(answered("503 Slow Down", "SlowDown"), lost_answer(), cut_request(10))
    await faulty.blobs.put_bytes("key", b"hello")
    await faulty.proxy.arm(answered("500 Internal Server Error", "InternalError"))
    assert await faulty.blobs.read("key", 0, 9) == b"hello"
    await faulty.proxy.arm(lost_answer())
    await faulty.blobs.delete(["key"])
    await faulty.proxy.arm(lost_answer())
    assert [info async for info in faulty.blobs.list()] == []


@pytest.mark.parametrize("read_on", [True, False], ids=["reads on", "hangs up"])
async def test_an_error_in_the_middle_of_a_body_ends_it(faulty: Faulty, blobs: Blobs, read_on: bool) -> None:
    """The server answers while the body is still being sent."""
    await faulty.proxy.arm(
        answered("503 Service Unavailable", "ServiceUnavailable", after_bytes=2 * MIB, read_on=read_on)
    )
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await faulty.blobs.put("key", in_chunks(content(30 * MIB)), 30 * MIB)
    assert await blobs.head("key") is None


async def test_a_connection_that_breaks_during_a_body_ends_it(faulty: Faulty, blobs: Blobs) -> None:
    """A body that streams by cannot be sent again: whoever has it must say so."""
    await faulty.proxy.arm(cut_request(after_bytes=3 * MIB))
    with pytest.raises(Unavailable):
        await faulty.blobs.put("key", in_chunks(content(9 * MIB)), 9 * MIB)
    assert await blobs.head("key") is None


async def test_wrong_credentials_are_the_operators_business(
    stack: Stack, blobs: Blobs, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears Unavailable, the log what to look at; neither hears a signature."""
    url = stack.bucket_url(namespace)
    secret = url.split("@")[0].rpartition(":")[2]
    async with Blobs.open(url.replace(secret, "wrong")) as wrong:
        assert not await wrong.ping()
        with pytest.raises(Unavailable, match="403"):
            await wrong.put_bytes("key", b"x")
        with pytest.raises(Unavailable, match=r"403|broke off"):
            await wrong.put("key", in_chunks(content(9 * MIB)), 9 * MIB)
    assert "credentials" in caplog.text
    assert "X-Amz" not in caplog.text


@pytest.mark.parametrize("faulty", [STALL_S], indirect=True)
@pytest.mark.parametrize("fault", [deaf, mute], ids=["deaf", "mute"])
async def test_a_server_that_stalls_is_given_up(faulty: Faulty, fault: Callable[[], Fault]) -> None:
    """Not by the length of a transfer, but for want of progress."""
    await faulty.proxy.arm(fault())
    async with asyncio.timeout(20 * STALL_S):
        with pytest.raises(Unavailable):
            await faulty.blobs.put("key", in_chunks(content(30 * MIB)), 30 * MIB)


@pytest.mark.parametrize("faulty", [STALL_S], indirect=True)
async def test_a_broken_off_body_leaves_no_connection(faulty: Faulty, stack: Stack) -> None:
    """A server that hangs never takes what is in the buffer: the connection is cut, not closed."""
    await faulty.proxy.arm(deaf())
    with pytest.raises(Unavailable):
        await faulty.blobs.put("key", in_chunks(content(30 * MIB)), 30 * MIB)

    async def none_is_left() -> bool:
        return faulty.proxy.port not in {
            connection.raddr.port for connection in psutil.Process().net_connections("tcp") if connection.raddr
        }

    await eventually(none_is_left)


@pytest.mark.parametrize("faulty", [STALL_S], indirect=True)
async def test_a_slow_client_is_no_stall(faulty: Faulty, blobs: Blobs) -> None:
    """A body that pauses for longer than the store may is waited for."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield content(MIB)
            await asyncio.sleep(2.2 * STALL_S)  # time itself is what this is about

    await faulty.blobs.put("key", slow(), 3 * MIB)
    assert await blobs.head("key") is not None


async def test_a_part_is_sent_again(faulty: Faulty, blobs: Blobs) -> None:
    """A writer has its part in memory: a connection that breaks costs that part."""
    data = content(3 * PART_BYTES)
    async with faulty.blobs.writer("key", len(data)) as writer:
        await writer.write(data[:PART_BYTES])
        await faulty.proxy.arm(cut_request(2 * MIB), answered("503 Slow Down", "SlowDown", after_bytes=MIB))
        await writer.write(data[PART_BYTES:])
    assert b"".join([chunk async for chunk in blobs.get("key")]) == data


async def test_a_store_that_forgot_an_upload_is_unavailable(blobs: Blobs) -> None:
    """It may expire parts, or lose them in a restart: the caller writes again from the start."""

    async def write() -> None:
        async with blobs.writer("key", 3 * PART_BYTES) as writer:
            await writer.write(content(2 * PART_BYTES + 1))
            await asyncio.wait(writer._flying)  # a part that arrives after the abort may begin the upload again
            assert await blobs.abort_multiparts("") == 1
            await writer.write(content(PART_BYTES - 1))

    with pytest.raises(Unavailable):
        await write()
    assert await blobs.head("key") is None


async def test_storage_may_come_later_than_we(stack: Stack, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """A start does not wait; the bucket is made when it can be."""
    await stack.stop("s3")
    async with Blobs.open(stack.bucket_url(f"{namespace}b")) as blobs:
        assert not await blobs.ping()
        with pytest.raises(Unavailable):
            await blobs.put("key", in_chunks(content(3 * MIB)), 3 * MIB)
        await stack.start("s3")
        assert await blobs.ping()
        await blobs.put("key", in_chunks(content(3 * MIB)), 3 * MIB)
    stack.remove_bucket(f"{namespace}b")
    assert "does not answer yet" in caplog.text


async def test_storage_that_is_away_is_unavailable_to_everyone(stack: Stack, blobs: Blobs) -> None:
    """One error, whatever was asked, within seconds."""
    await stack.stop("s3")

    async def listed() -> None:
        async for _ in blobs.list():
            pass

    asked = (
        blobs.put_bytes("key", b"x"),
        blobs.head("key"),
        blobs.read("key", 0, 1),
        blobs.delete(["a", "b"]),
        blobs.abort_multiparts(""),
        listed(),
    )
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * len(asked)


async def test_a_lost_bucket_is_made_again(stack: Stack, namespace: str) -> None:
    """A store that comes back empty: what can be repeated succeeds, what cannot fails once."""
    async with Blobs.open(stack.bucket_url(f"{namespace}c")) as blobs:
        await blobs.put_bytes("key", b"x")
        await asyncio.to_thread(stack.remove_bucket, f"{namespace}c")
        await blobs.put_bytes("key", b"x")
        assert await blobs.head("key") is not None
    stack.remove_bucket(f"{namespace}c")
