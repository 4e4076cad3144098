"""Objects from parts: in any order, by any process, completed once however often that is asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from libs.blobs import MAX_PARTS, MIN_PART_BYTES, Blobs, MultipartGone
from libs.blobs.multipart import PART_BYTES
from libs.errors import Invalid, Unavailable
from tests.integration.blobs.contents import MIB, content, in_chunks
from tests.integration.blobs.faulty import FaultyProxy, answered, cut_request, lost_answer
from tests.support.stack import Stack

KEY = "project/objects/upload/f1"


async def everything(blobs: Blobs, key: str = KEY) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


@dataclass
class Faulty:
    """Object storage by way of a proxy that can be told to fail."""

    blobs: Blobs
    proxy: FaultyProxy


@pytest.fixture
async def faulty(stack: Stack, blobs: Blobs, namespace: str) -> AsyncIterator[Faulty]:
    async with FaultyProxy.open(stack.bucket_url(namespace)) as (proxy, url), Blobs.open(url) as through:
        yield Faulty(through, proxy)


async def test_parts_come_in_any_order_streamed_or_whole(blobs: Blobs) -> None:
    """And nothing is visible before they are complete."""
    data = content(2 * PART_BYTES + 5)
    first, second, last = data[:PART_BYTES], data[PART_BYTES : 2 * PART_BYTES], data[2 * PART_BYTES :]
    upload_id = await blobs.begin_multipart(KEY)
    etags = [
        (3, await blobs.put_part(KEY, upload_id, 3, in_chunks(last), len(last))),
        (1, await blobs.put_part(KEY, upload_id, 1, in_chunks(first), len(first))),
        (2, await blobs.put_part_bytes(KEY, upload_id, 2, second)),
    ]
    assert await blobs.head(KEY) is None
    await blobs.complete_multipart(KEY, upload_id, etags, len(data))
    assert await everything(blobs) == data
    assert await blobs.abort_multiparts("") == 0


async def test_parts_go_side_by_side_and_on_in_another_process(blobs: Blobs, stack: Stack, namespace: str) -> None:
    """The id and the entity tags are all that has to be known."""
    data = content(3 * MIN_PART_BYTES)
    upload_id = await blobs.begin_multipart(KEY)
    async with Blobs.open(stack.bucket_url(namespace)) as other:

        async def put(number: int) -> tuple[int, str]:
            piece = data[(number - 1) * MIN_PART_BYTES : number * MIN_PART_BYTES]
            where = other if number == 2 else blobs
            return number, await where.put_part(KEY, upload_id, number, in_chunks(piece), len(piece))

        etags = await asyncio.gather(put(1), put(2), put(3))
        await other.complete_multipart(KEY, upload_id, etags, len(data))
    assert hashlib.sha256(await everything(blobs)).digest() == hashlib.sha256(data).digest()


async def test_a_part_is_replaced_by_the_next_of_its_number(blobs: Blobs) -> None:
    """An attempt whose answer was lost leaves nothing that could get in the way."""
    wrong, right, last = content(MIN_PART_BYTES, 1), content(MIN_PART_BYTES, 2), content(10, 3)
    upload_id = await blobs.begin_multipart(KEY)
    await blobs.put_part_bytes(KEY, upload_id, 1, wrong)
    etags = [
        (1, await blobs.put_part(KEY, upload_id, 1, in_chunks(right), len(right))),
        (2, await blobs.put_part_bytes(KEY, upload_id, 2, last)),
    ]
    await blobs.complete_multipart(KEY, upload_id, etags, MIN_PART_BYTES + 10)
    assert await everything(blobs) == right + last


@pytest.mark.parametrize("sent", [MIN_PART_BYTES - 1, MIN_PART_BYTES + 1, 0])
async def test_a_part_of_another_size_is_not_stored(blobs: Blobs, sent: int) -> None:
    """What was stored under its number stays."""
    data = content(MIN_PART_BYTES)
    upload_id = await blobs.begin_multipart(KEY)
    etag = await blobs.put_part_bytes(KEY, upload_id, 1, data)
    with pytest.raises(Invalid, match="declared"):
        await blobs.put_part(KEY, upload_id, 1, in_chunks(content(sent)), MIN_PART_BYTES)
    await blobs.complete_multipart(KEY, upload_id, [(1, etag)], len(data))
    assert await everything(blobs) == data


async def test_completing_again_is_fine(blobs: Blobs) -> None:
    """By whoever does not know that it was done already; not where another object is there, or none."""
    upload_id = await blobs.begin_multipart(KEY)
    etags = [(1, await blobs.put_part_bytes(KEY, upload_id, 1, b"hello"))]
    await blobs.complete_multipart(KEY, upload_id, etags, 5)
    await blobs.complete_multipart(KEY, upload_id, etags, 5)
    assert await everything(blobs) == b"hello"
    await blobs.put_bytes(KEY, b"other")
    await blobs.put_bytes(KEY, b"another")
    with pytest.raises(MultipartGone):
        await blobs.complete_multipart(KEY, upload_id, etags, 5)
    await blobs.delete([KEY])
    with pytest.raises(MultipartGone):
        await blobs.complete_multipart(KEY, upload_id, etags, 5)


async def test_an_aborted_upload_is_gone(blobs: Blobs) -> None:
    """Its parts, too; aborting again is fine."""
    upload_id = await blobs.begin_multipart(KEY)
    etags = [(1, await blobs.put_part_bytes(KEY, upload_id, 1, b"hello"))]
    await blobs.abort_multipart(KEY, upload_id)
    await blobs.abort_multipart(KEY, upload_id)
    with pytest.raises(MultipartGone):
        await blobs.put_part_bytes(KEY, upload_id, 2, b"x")
    with pytest.raises(Unavailable):
        await blobs.put_part(KEY, upload_id, 2, in_chunks(content(2 * MIB)), 2 * MIB)
    with pytest.raises(MultipartGone):
        await blobs.complete_multipart(KEY, upload_id, etags, 5)
    assert await blobs.head(KEY) is None


async def test_a_completion_whose_answer_was_lost_has_happened(faulty: Faulty, blobs: Blobs) -> None:
    """Asked again, the store knows no such upload; but the object is there."""
    upload_id = await faulty.blobs.begin_multipart(KEY)
    etags = [(1, await faulty.blobs.put_part_bytes(KEY, upload_id, 1, b"hello"))]
    await faulty.proxy.arm(lost_answer())
    await faulty.blobs.complete_multipart(KEY, upload_id, etags, 5)
    assert await everything(blobs) == b"hello"


async def test_an_error_in_the_body_of_a_200_is_an_error(faulty: Faulty, blobs: Blobs) -> None:
    """S3 answers 200 before it knows; a passing one is asked again, another comes out at once."""
    upload_id = await faulty.blobs.begin_multipart(KEY)
    etags = [(1, await faulty.blobs.put_part_bytes(KEY, upload_id, 1, b"hello"))]
    await faulty.proxy.arm(answered("200 OK", "InvalidPart"))
    with pytest.raises(Unavailable, match="InvalidPart"):
        await faulty.blobs.complete_multipart(KEY, upload_id, etags, 5)
    assert await blobs.head(KEY) is None
    await faulty.proxy.arm(answered("200 OK", "InternalError"), answered("200 OK", "SlowDown"))
    await faulty.blobs.complete_multipart(KEY, upload_id, etags, 5)
    assert await everything(blobs) == b"hello"


async def test_a_part_in_memory_is_sent_again_and_a_streamed_one_is_not(faulty: Faulty) -> None:
    """What has streamed by is gone: whoever has it must send it again."""
    data = content(MIN_PART_BYTES)
    upload_id = await faulty.blobs.begin_multipart(KEY)
    await faulty.proxy.arm(cut_request(MIB), answered("503 Slow Down", "SlowDown", after_bytes=MIB))
    await faulty.blobs.put_part_bytes(KEY, upload_id, 1, data)
    await faulty.proxy.arm(cut_request(MIB))
    with pytest.raises(Unavailable):
        await faulty.blobs.put_part(KEY, upload_id, 2, in_chunks(data), len(data))
    assert faulty.proxy.connections == 1


@pytest.mark.parametrize("numbers", [[], [0], [1, 1], [1, MAX_PARTS + 1]])
async def test_numbers_that_s3_does_not_allow_are_refused_before_it_is_asked(blobs: Blobs, numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="10,000"):
        await blobs.complete_multipart(KEY, "any", [(number, "etag") for number in numbers], 5)
    with pytest.raises(ValueError, match="10,000"):
        await blobs.put_part_bytes(KEY, "any", 0, b"x")
