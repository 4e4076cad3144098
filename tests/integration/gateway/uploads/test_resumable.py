"""A file as one resumable stream: appended to, asked about, gone on with by anybody, and every byte written once."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from libs.blobs import Blobs
from libs.contracts import ObjectDropped, UploadOpened
from libs.db import connection
from libs.errors import Unavailable
from tests.integration.gateway.harness import Uploads, sent
from tests.integration.gateway.uploads.examples import (
    FILE,
    MIB,
    PART,
    content,
    given_session,
    hashed,
    key_of_file,
    sha256_of,
    span,
    stored_key,
)
from tests.support.eventually import eventually


async def test_a_large_file_in_one_request_has_its_digest_at_its_end(uploads: Uploads) -> None:
    data = content(2 * PART + 4 * MIB)
    session = await given_session(uploads, data)

    received = await uploads.append(session, FILE, span(0, len(data), len(data)), data, 200)

    assert received["checksum"] == sha256_of(data)
    assert received["crc32"] == f"{zlib.crc32(data):08x}"
    assert (received["uploaded_file_count"], received["progress"]) == (2, 100.0)
    key = await stored_key(uploads, session)
    assert key is not None
    assert await uploads.sha256(key) == sha256_of(data)
    assert len(await uploads.stored()) == 2
    assert (await uploads.complete(session))["status"] == "completed"


async def test_a_broken_connection_loses_the_unfinished_part_and_another_replica_goes_on(
    uploads: Uploads, replica: Uploads
) -> None:
    data = content(2 * PART + 4 * MIB)
    session = await given_session(uploads, data)
    await _break_off(uploads, session, data, after=2 * PART - 3 * MIB)

    asked = await replica.append(session, FILE, f"*/{len(data)}")
    assert (asked["range"], asked["held_bytes"]) == (f"bytes=0-{PART - 1}", PART)
    state = (await replica.call("GET", f"uploads/{session}"))["files"][1]
    assert (state["status"], state["held_bytes"]) == ("partial", PART)
    received = await replica.append(session, FILE, span(PART, len(data), len(data)), data[PART:], 200)
    assert received["checksum"] is None

    [opened] = await uploads.emitted(UploadOpened)
    assert (opened.stream.format, opened.stream.total_parts, len(opened.parts)) == ("object", 1, 1)
    assert opened.stream.key is not None
    assert await uploads.sha256(opened.stream.key) == sha256_of(data)
    assert (await uploads.complete(session, status=202))["status"] == "processing"
    await uploads.deliver(hashed(session, opened, data))
    assert (await uploads.complete(session))["total_size"] == len(data) + 2


async def test_what_one_process_saw_whole_is_not_read_again_though_it_came_in_pieces(uploads: Uploads) -> None:
    data = content(2 * PART + 4 * MIB)
    session = await given_session(uploads, data)
    await _break_off(uploads, session, data, after=2 * PART - 3 * MIB)

    received = await uploads.append(session, FILE, span(PART, len(data), len(data)), data[PART:], 200)

    assert received["checksum"] == sha256_of(data)
    assert await uploads.emitted(UploadOpened) == []


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (40, 1),
        (3000, 999),
        (10 * MIB + 3, 3 * MIB),
        (2 * PART + 5 * MIB, 9 * MIB + 1),
        (2 * PART + MIB, PART),
        (4 * PART + 5 * MIB, 2 * PART + 4 * MIB),
    ],
)
async def test_chunks_of_any_size_make_the_same_file(uploads: Uploads, size: int, chunk: int) -> None:
    data = content(size)
    session = await given_session(uploads, data)
    for start in range(0, size, chunk):
        end = min(start + chunk, size)
        last = end == size
        answer = await uploads.append(session, FILE, span(start, end, size), data[start:end], 200 if last else 308)
        if not last:
            assert answer["range"] == f"bytes=0-{end - 1}"
            asked = await uploads.append(session, FILE, f"*/{size}")
            assert asked["held_bytes"] == end

    assert answer["checksum"] == sha256_of(data)
    key = await stored_key(uploads, session)
    assert key is not None
    assert await uploads.sha256(key) == sha256_of(data)
    dropped = {key for event in await uploads.emitted(ObjectDropped) for key in event.keys}
    assert len(set(await uploads.stored()) - dropped) == 2


async def test_a_wrong_offset_is_answered_by_the_right_one_and_changes_nothing(uploads: Uploads) -> None:
    data = content(3000)
    session = await given_session(uploads, data)
    assert (await uploads.append(session, FILE, "*/3000"))["range"] is None
    for start in (1, 2999):
        wrong = await uploads.append(session, FILE, span(start, 3000, 3000), data[start:])
        assert (wrong["range"], wrong["held_bytes"]) == (None, 0)
    await uploads.append(session, FILE, span(0, 1000, 3000), data[:1000])
    for start in (0, 999, 1001):
        wrong = await uploads.append(session, FILE, span(start, 3000, 3000), data[start:])
        assert wrong["range"] == "bytes=0-999"
    received = await uploads.append(session, FILE, span(1000, 3000, 3000), data[1000:], 200)
    assert received["checksum"] == sha256_of(data)
    again = await uploads.append(session, FILE, "*/3000", status=200)
    assert again["checksum"] == received["checksum"]


async def test_what_cannot_be_part_of_the_file_is_refused(uploads: Uploads) -> None:
    session = await given_session(uploads, content(3000))
    other = await uploads.append(session, FILE, "0-999/2999", b"x" * 1000, 400)
    assert other["error"]["code"] == "part_size_mismatch"
    length = await uploads.append(session, FILE, "0-999/3000", b"x" * 999, 400)
    assert length["error"]["code"] == "part_size_mismatch"
    for wrong in ("0-3000/3000", "5-4/3000", "0-/3000", "0-99/*"):
        refused = await uploads.append(session, FILE, wrong, b"x", 400)
        assert refused["error"]["param"] == "Content-Range"
    assert (await uploads.append(session, FILE, "*/3000"))["held_bytes"] == 0


async def test_an_empty_file_is_whole_when_it_is_asked_about(uploads: Uploads) -> None:
    session = await given_session(uploads, b"")
    received = await uploads.append(session, FILE, "*/0", status=200)
    assert received["checksum"] == hashlib.sha256(b"").hexdigest()
    assert (await uploads.complete(session))["status"] == "completed"


async def test_of_concurrent_writers_of_one_file_the_bytes_count_once(uploads: Uploads, replica: Uploads) -> None:
    data = content(2 * PART + 2 * MIB)
    session = await given_session(uploads, data)

    async def write(gateway: Uploads) -> None:
        held = 0
        while True:
            headers = {"Content-Range": f"bytes {span(held, len(data), len(data))}"}
            url, body = f"/v1/uploads/{session}/files/{FILE}", sent(data[held:])
            async with gateway.client.put(url, data=body, headers=headers, allow_redirects=False) as response:
                answer = await response.json()
                if response.status == 200:
                    return
                assert response.status == 308, answer
            held = answer["held_bytes"]
            if held == len(data):
                await gateway.append(session, FILE, f"*/{len(data)}", status=200)
                return

    await asyncio.gather(*(write(gateway) for gateway in (uploads, replica, uploads)))

    key = await key_of_file(uploads, session)
    assert await uploads.sha256(key) == sha256_of(data)


async def test_the_request_of_a_connection_that_hangs_changes_nothing_any_more(
    uploads: Uploads, replica: Uploads
) -> None:
    data, other = content(2 * PART + 2 * MIB), content(2 * PART + 2 * MIB, seed=2)
    session = await given_session(uploads, data)
    began, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield other[: 5 * MIB]
        began.set()
        await go_on.wait()
        yield other[5 * MIB :]

    hanging = asyncio.create_task(uploads.append(session, FILE, span(0, len(data), len(data)), body(), 200))
    await began.wait()
    await eventually(lambda: _fence_is(uploads, session, 1))
    received = await replica.append(session, FILE, span(0, len(data), len(data)), data, 200)
    go_on.set()

    assert received["checksum"] == sha256_of(data)
    assert (await hanging)["checksum"] == received["checksum"]  # the file is whole, though not by this request
    key = await stored_key(uploads, session)
    assert key is not None
    assert await uploads.sha256(key) == sha256_of(data)


@pytest.mark.parametrize("size", [3000, PART + MIB])
async def test_a_file_that_is_not_what_was_declared_is_dropped_by_itself(uploads: Uploads, size: int) -> None:
    data, wrong = content(size), content(size, seed=2)
    session = await given_session(uploads, data)
    sha256 = sha256_of(data)
    half = size // 2
    await uploads.append(session, FILE, span(0, half, size), wrong[:half], X_File_Checksum=sha256)
    refused = await uploads.append(session, FILE, span(half, size, size), wrong[half:], 400)

    assert refused["error"]["code"] == "checksum_mismatch"
    assert (await uploads.append(session, FILE, f"*/{size}"))["held_bytes"] == 0
    received = await uploads.append(session, FILE, span(0, size, size), data, 200, X_File_Checksum=sha256)
    assert received["checksum"] == sha256
    assert (await uploads.complete(session))["status"] == "completed"


@pytest.mark.parametrize("by", ["asking", "completing"])
async def test_a_file_whose_last_request_could_not_make_it_whole_is_made_whole_later(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    data = content(PART + MIB)
    session = await given_session(uploads, data)

    async def unavailable(*_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "complete_multipart", unavailable)
        await uploads.append(session, FILE, span(0, len(data), len(data)), data, 503)
    assert await stored_key(uploads, session) is None

    if by == "asking":
        received = await uploads.append(session, FILE, f"*/{len(data)}", status=200)
        assert received["checksum"] == sha256_of(data)
    assert (await uploads.complete(session))["total_size"] == len(data) + 2


async def test_a_whole_file_sent_again_starts_again(uploads: Uploads) -> None:
    data = content(PART + MIB)
    session = await given_session(uploads, data)
    await uploads.append(session, FILE, span(0, 1000, len(data)), b"x" * 1000)
    received = await uploads.send_file(session, FILE, data)
    assert received["checksum"] == sha256_of(data)


async def _break_off(uploads: Uploads, session: str, data: bytes, after: int) -> None:
    """Send a file, and break the connection after so many bytes; returns when the whole parts before are recorded."""

    async def body() -> AsyncIterator[bytes]:
        yield data[:after]
        await eventually(lambda: _holds(uploads, session, after // PART * PART), timeout_s=60)
        raise ConnectionResetError

    headers = {"Content-Range": f"bytes {span(0, len(data), len(data))}"}
    with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
        await uploads.client.put(f"/v1/uploads/{session}/files/{FILE}", data=body(), headers=headers)


async def _holds(uploads: Uploads, session: str, size: int) -> bool:
    async with connection(uploads.pool) as tx:
        held = await tx.fetchval("SELECT sum(held_bytes) FROM upload_transfer WHERE upload_id = $1", session)
        return bool((held or 0) >= size)


async def _fence_is(uploads: Uploads, session: str, fence: int) -> bool:
    async with connection(uploads.pool) as tx:
        found = await tx.fetchval("SELECT fence FROM upload_transfer WHERE upload_id = $1", session)
        return bool(found == fence)
