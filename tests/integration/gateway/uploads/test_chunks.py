"""A file in large chunks, in any order: each attempt is a part of its own, and the file is one object in the end."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from libs.blobs import Blobs
from libs.contracts import UploadOpened
from services.gateway.uploads.routes import chunks
from tests.integration.gateway.harness import Uploads, sent
from tests.integration.gateway.uploads.examples import (
    FILE,
    MIB,
    content,
    given_session,
    hashed,
    sha256_of,
    span,
)


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
    await uploads.deliver(hashed(session, opened, data))
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
