"""Archives in parts: what is sent counts once, whoever sends it, in whatever order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from libs.contracts import (
    Event,
    ObjectDropped,
    UploadCompleted,
    UploadFailed,
    UploadOpened,
    UploadPartStored,
)
from tests.integration.gateway.harness import CHUNK, FILES, PROJECT, Uploads, extracted, part


async def test_the_documented_answers_of_an_archive(uploads: Uploads) -> None:
    opened = await uploads.open_archive(2 * CHUNK + 1)
    session = opened["session_id"]
    assert opened["chunk_size"] == CHUNK
    assert opened["total_chunks"] == 3
    assert opened["upload_url"].endswith(f"/v1/uploads/{session}/chunks")
    assert opened["expires_at"].endswith("Z")

    stored = await uploads.send_part(session, 0, part(0))
    assert stored == {
        "session_id": session,
        "part_number": 0,
        "size": CHUNK,
        "checksum": hashlib.sha256(part(0)).hexdigest(),
        "uploaded_chunks": 1,
        "total_chunks": 3,
        "progress": 49.97,
    }


async def test_parts_in_any_order_and_in_parallel_are_told_to_the_extractor_once_each(uploads: Uploads) -> None:
    session, order = (await uploads.open_archive(10 * CHUNK))["session_id"], (7, 3, 9, 0, 1, 5, 2, 8, 6, 4)
    await asyncio.gather(*(uploads.send_part(session, number, part(number)) for number in order))

    opened = await uploads.emitted(UploadOpened)
    told = await uploads.emitted(UploadPartStored)
    assert len(opened) == 1
    numbers = [p.number for event in opened for p in event.parts] + [event.part.number for event in told]
    assert sorted(numbers) == list(range(10))
    assert len(await uploads.stored()) == 10
    seen = await uploads.call("GET", f"uploads/{session}")
    assert (seen["progress"], seen["missing"], seen["received"]) == (100.0, [], [[0, 9]])


async def test_the_same_part_again_changes_nothing(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    first = await uploads.send_part(session, 0, part(0))
    again = await uploads.send_part(session, 0, part(0))

    assert again == first
    assert len(await uploads.emitted(Event)) == 1
    assert len(await uploads.stored()) == 1


async def test_other_bytes_for_a_stored_part_are_a_conflict(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    await uploads.send_part(session, 0, part(0))
    refused = await uploads.send_part(session, 0, part(1), status=409)

    assert refused["error"]["code"] == "part_conflict"
    assert "abort" in refused["error"]["message"]
    assert len(await uploads.stored()) == 1


async def test_of_racing_requests_for_one_part_one_is_recorded_and_other_objects_are_dropped(
    uploads: Uploads,
) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    bodies = [part(number % 2) for number in range(8)]

    async def send(body: bytes) -> int:
        async with uploads.client.post(f"/v1/uploads/{session}/parts?part_number=0", data=body) as response:
            return response.status

    statuses = await asyncio.gather(*(send(body) for body in bodies))

    recorded = (await uploads.call("GET", f"uploads/{session}"))["parts"][0]["checksum"]
    expected = [200 if hashlib.sha256(body).hexdigest() == recorded else 409 for body in bodies]
    assert statuses == expected
    [opened] = await uploads.emitted(UploadOpened)
    kept = f"/0/0-{opened.parts[0].attempt}"
    dropped = {key for event in await uploads.emitted(ObjectDropped) for key in event.keys}
    assert {key for key in await uploads.stored() if not key.endswith(kept)} <= dropped
    assert not any(key.endswith(kept) for key in dropped)


async def test_a_part_that_is_not_what_was_declared_does_not_count(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    wrong = {"X-Chunk-Checksum": "0" * 64}
    path = f"uploads/{session}/parts?part_number=0"
    mismatch = await uploads.call("POST", path, 400, data=part(0), headers=wrong)
    short = await uploads.send_part(session, 0, part(0, CHUNK - 1), status=400)
    beyond = await uploads.send_part(session, 2, part(0), status=400)
    no_checksum = await uploads.call("POST", path, 400, data=part(0), headers={"X-Chunk-Checksum": "md5"})

    assert mismatch["error"]["code"] == "checksum_mismatch"
    assert short["error"]["code"] == "part_size_mismatch"
    assert "must have 1000 bytes, but 999 were sent" in short["error"]["message"]
    assert beyond["error"]["param"] == "part_number"
    assert no_checksum["error"]["param"] == "X-Chunk-Checksum"
    assert await uploads.stored() == {}
    assert await uploads.emitted(Event) == []


async def test_a_body_of_unannounced_length_is_measured(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]

    async def body(size: int) -> AsyncIterator[bytes]:
        yield part(0, size)

    path = f"uploads/{session}/parts?part_number=0"
    for size in (CHUNK - 1, CHUNK + 1):
        refused = await uploads.call("POST", path, 400, data=body(size))
        assert refused["error"]["code"] == "part_size_mismatch"
    assert (await uploads.call("POST", path, data=body(CHUNK)))["size"] == CHUNK


async def test_completing_too_early_names_what_is_missing(uploads: Uploads) -> None:
    session = (await uploads.open_archive(5 * CHUNK))["session_id"]
    for number in (0, 3):
        await uploads.send_part(session, number, part(number))
    refused = await uploads.complete(session, status=409)

    assert refused["error"]["code"] == "parts_missing"
    assert "1-2, 4" in refused["error"]["message"]
    assert refused["error"]["missing"] == [[1, 2], [4, 4]]


async def test_complete_answers_202_until_the_extractor_is_done_and_then_the_files(uploads: Uploads) -> None:
    opened = await uploads.open_archive(CHUNK)
    session = opened["session_id"]
    await uploads.send_part(session, 0, part(0))

    waiting = await uploads.complete(session, status=202)
    assert waiting["status"] == "processing"
    assert (await uploads.model(opened["model_id"]))["status"] == "processing"
    [completed] = await uploads.emitted(UploadCompleted)
    assert completed.stream_ids == [f"{session}-0"]

    answering = asyncio.create_task(uploads.complete(session, wait_s=30))
    await uploads.deliver(extracted(session))
    done = await answering
    assert done == await uploads.complete(session)
    assert done["status"] == "completed"
    assert done["file_count"] == 2
    assert done["total_size"] == sum(map(len, FILES.values()))
    assert [file["relative_path"] for file in done["files"]] == ["config.json", "model.safetensors"]
    assert len(await uploads.emitted(UploadCompleted)) == 1


async def test_an_extractor_that_kept_pace_makes_complete_immediate(uploads: Uploads) -> None:
    opened = await uploads.open_archive(CHUNK)
    await uploads.send_part(opened["session_id"], 0, part(0))
    await uploads.deliver(extracted(opened["session_id"]))

    assert (await uploads.complete(opened["session_id"]))["status"] == "completed"
    assert (await uploads.model(opened["model_id"]))["status"] == "validating"


async def test_an_archive_without_what_a_model_needs_fails_at_complete(uploads: Uploads) -> None:
    opened = await uploads.open_archive(CHUNK)
    await uploads.send_part(opened["session_id"], 0, part(0))
    await uploads.deliver(extracted(opened["session_id"], {"README.md": b"hello"}))

    refused = await uploads.complete(opened["session_id"], status=422)
    assert refused["error"]["code"] == "archive_rejected"
    assert "config.json" in refused["error"]["message"]
    model = await uploads.model(opened["model_id"])
    assert model["status"] == "error"
    assert "config.json" in model["status_reason"]
    assert len(await uploads.emitted(UploadFailed)) == 1


async def test_a_body_for_which_there_is_no_slot_is_refused_before_it_is_read(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    slots = uploads.dependencies.incoming.slots
    slots._wait_s = 0.01

    async def body() -> AsyncIterator[bytes]:
        pytest.fail("nobody asked for the body")
        yield b""

    async with AsyncExitStack() as held:
        for _ in range(slots.per_tenant):
            await held.enter_async_context(slots.take(PROJECT))
        url = f"/v1/uploads/{session}/parts?part_number=0"
        async with uploads.client.post(url, data=body(), headers={"Expect": "100-continue"}) as refused:
            assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (503, True)
    await uploads.send_part(session, 0, part(0))
