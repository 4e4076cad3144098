"""A file as one resumable stream: appended to, asked about, gone on with by anybody, and every byte written once."""

from __future__ import annotations

import asyncio
import hashlib
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from libs.blobs import Blobs
from libs.contracts import ArchiveExtracted, ObjectDropped, StoredFile, UploadOpened
from libs.db import connection
from libs.errors import Unavailable
from services.gateway.uploads.receiving import Span, parse_content_range
from services.gateway.uploads.routes import chunks
from tests.integration.gateway.uploading import NOON, Uploads, sent
from tests.support.eventually import eventually

MIB = 1024 * 1024
PART = 16 * MIB
FILE = "model.safetensors"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def span(start: int, end: int, total: int) -> str:
    return f"{start}-{end - 1}/{total}"


async def given_session(uploads: Uploads, data: bytes, **more: str) -> str:
    """A directory of config.json, which is sent, and one file of this content."""
    opened = await uploads.open_directory({"config.json": b"{}", FILE: data}, **more)
    session: str = opened["session_id"]
    await uploads.send_file(session, "config.json", b"{}")
    return session


async def stored_key(uploads: Uploads, session: str) -> str | None:
    async with connection(uploads.pool) as tx:
        key: str | None = await tx.fetchval(
            "SELECT key FROM upload_file WHERE upload_id = $1 AND path = $2", session, FILE
        )
        return key


async def test_a_large_file_in_one_request_has_its_digest_at_its_end(uploads: Uploads) -> None:
    data = content(36 * MIB)
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
    data = content(36 * MIB)
    session = await given_session(uploads, data)
    await _break_off(uploads, session, data, after=29 * MIB)

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
    await uploads.deliver(_hashed(session, opened, data))
    assert (await uploads.complete(session))["total_size"] == len(data) + 2


async def test_what_one_process_saw_whole_is_not_read_again_though_it_came_in_pieces(uploads: Uploads) -> None:
    data = content(36 * MIB)
    session = await given_session(uploads, data)
    await _break_off(uploads, session, data, after=29 * MIB)

    received = await uploads.append(session, FILE, span(PART, len(data), len(data)), data[PART:], 200)

    assert received["checksum"] == sha256_of(data)
    assert await uploads.emitted(UploadOpened) == []


@pytest.mark.parametrize(
    ("size", "chunk"),
    [(40, 1), (3000, 999), (10 * MIB + 3, 3 * MIB), (37 * MIB, 9 * MIB + 1), (33 * MIB, PART), (69 * MIB, 36 * MIB)],
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

    key = await _only_key(uploads, session)
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


@pytest.mark.parametrize("size", [3000, 17 * MIB])
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
    data = content(17 * MIB)
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
    data = content(17 * MIB)
    session = await given_session(uploads, data)
    await uploads.append(session, FILE, span(0, 1000, len(data)), b"x" * 1000)
    received = await uploads.send_file(session, FILE, data)
    assert received["checksum"] == sha256_of(data)


async def test_large_chunks_in_any_order_become_one_object_in_place(uploads: Uploads) -> None:
    data = content(23 * MIB + 7)
    chunk = 6 * MIB
    session = await given_session(uploads, data)

    async def send(number: int, status: int = 200) -> dict[str, object]:
        path = f"{FILE}?part_count=4&part_number={number}"
        return await uploads.send_file(session, path, data[number * chunk : (number + 1) * chunk], status)

    await send(3)
    await asyncio.gather(send(1), send(1), send(0))
    state = (await uploads.call("GET", f"uploads/{session}"))["files"][1]
    assert (state["status"], state["received"], state["missing"]) == ("partial", [[0, 1], [3, 3]], [[2, 2]])
    assert (await uploads.complete(session, status=409))["error"]["missing"] == [FILE]
    last = await send(2)
    assert (last["checksum"], last["uploaded_file_count"]) == (
        hashlib.sha256(data[2 * chunk : 3 * chunk]).hexdigest(),
        2,
    )
    again = await send(2, status=409)
    assert "stored already" in again["error"]["message"]  # type: ignore[index]

    [opened] = await uploads.emitted(UploadOpened)
    assert opened.stream.format == "object"
    assert await uploads.sha256(opened.stream.key or "") == sha256_of(data)
    await uploads.complete(session, status=202)
    await uploads.deliver(_hashed(session, opened, data))
    assert (await uploads.complete(session))["total_size"] == len(data) + 2


async def test_other_bytes_for_a_large_chunk_are_a_conflict(uploads: Uploads) -> None:
    data = content(24 * MIB)
    session = await given_session(uploads, data)
    path = f"{FILE}?part_count=2&part_number=0"
    await uploads.send_file(session, path, data[: 12 * MIB])
    refused = await uploads.send_file(session, path, data[12 * MIB :], status=409)
    assert refused["error"]["code"] == "part_conflict"
    other = await uploads.send_file(session, f"{FILE}?part_count=3&part_number=0", data[: 8 * MIB], status=409)
    assert other["error"]["param"] == "part_count"


async def test_attempts_at_one_large_chunk_with_other_bytes_never_replace_each_other(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six at once, with six numbers of S3's for them: only the one that is recorded counts, and the file is whole."""
    monkeypatch.setattr(chunks, "MAX_PARTS", 12)
    chunk, writers = 5 * MIB, 6
    session = await given_session(uploads, bytes(2 * chunk))
    numbers: list[int] = []
    all_begun = asyncio.Event()
    put_part = Blobs.put_part

    async def noted(self: Blobs, key: str, upload_id: str, number: int, *more: Any) -> str:
        numbers.append(number)
        if len(numbers) == writers:
            all_begun.set()
        await all_begun.wait()
        return await put_part(self, key, upload_id, number, *more)

    monkeypatch.setattr(Blobs, "put_part", noted)

    async def write(n: int) -> int:
        url = f"/v1/uploads/{session}/files/{FILE}?part_count=2&part_number=0"
        async with uploads.client.put(url, data=sent(bytes([n]) * chunk)) as response:
            return response.status

    statuses = await asyncio.gather(*(write(n) for n in range(writers)))
    assert sorted(statuses) == [200, *[409] * (writers - 1)]
    assert len(set(numbers)) == writers
    last = bytes([99]) * chunk
    await uploads.send_file(session, f"{FILE}?part_count=2&part_number=1", last)

    [opened] = await uploads.emitted(UploadOpened)
    assert numbers[-1] > max(numbers[:-1])  # S3 orders by them
    kept = bytes([statuses.index(200)]) * chunk
    assert await uploads.sha256(opened.stream.key or "") == sha256_of(kept + last)


async def test_a_large_chunk_that_was_begun_too_often_costs_its_file_alone(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_PARTS", 4)
    data = content(34 * MIB)
    session = await given_session(uploads, data)
    path, half = f"{FILE}?part_count=2&part_number=0", data[: 17 * MIB]
    wrong = {"X-Chunk-Checksum": sha256_of(b"other")}
    for _ in range(2):
        await uploads.call("PUT", f"uploads/{session}/files/{path}", 400, data=sent(half), headers=wrong)
    refused = await uploads.send_file(session, path, half, status=409)
    assert "was begun 2 times" in refused["error"]["message"]

    received = await uploads.append(session, FILE, span(0, len(data), len(data)), data, 200)
    assert received["checksum"] == sha256_of(data)
    assert (await uploads.complete(session))["status"] == "completed"


def test_content_range_is_read_as_the_rfc_writes_it() -> None:
    assert parse_content_range("bytes 0-99/1000") == Span(0, 100, 1000)
    assert parse_content_range("Bytes */1000") == Span(0, 0, 1000, asks=True)


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


async def _only_key(uploads: Uploads, session: str) -> str:
    """The object of the file, whether its sha256 is known or still to be read."""
    opened = await uploads.emitted(UploadOpened)
    key = opened[-1].stream.key if opened else await stored_key(uploads, session)
    assert key is not None
    return key


def _hashed(session: str, opened: UploadOpened, data: bytes) -> ArchiveExtracted:
    """The extractor's word on a file that it read."""
    stream = opened.stream
    file = StoredFile(path=stream.path or "", size_bytes=len(data), sha256=sha256_of(data), key=stream.key or "")
    return ArchiveExtracted(upload_id=session, stream_id=stream.id, files=[file], at=NOON)
