"""Sessions as a whole: versions, aborting, listing, and what may be asked for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from libs.contracts import (
    ModelValidationRequested,
    ObjectDropped,
    UploadAborted,
)
from tests.integration.gateway.uploading import CHUNK, FILES, PROJECT, Uploads, part


async def test_versions_of_a_name_and_which_is_the_latest(uploads: Uploads) -> None:
    first = await uploads.upload_directory(FILES)
    assert first["version"] == "1.0.0"
    await uploads.validate(first["model_id"])
    second = await uploads.upload_directory({**FILES, "more.txt": b"1"})
    assert second["version"] == "1.1.0"
    assert (await uploads.model("tiny"))["id"] == first["model_id"]

    await uploads.validate(second["model_id"])
    assert (await uploads.model("tiny"))["id"] == second["model_id"]
    assert (await uploads.model(first["model_id"]))["is_latest"] is False
    taken = {"model_name": "tiny", "archive_size": 1, "archive_format": "tar", "version": "1.1.0"}
    assert (await uploads.call("POST", "uploads/archive", 409, json=taken))["error"]["param"] == "version"


async def test_racing_uploads_of_one_name_get_versions_of_their_own(uploads: Uploads) -> None:
    opened = await asyncio.gather(*(uploads.open_archive(1) for _ in range(8)))
    assert len({each["version"] for each in opened}) == 8


async def test_an_aborted_upload_leaves_no_model_and_takes_no_more(uploads: Uploads) -> None:
    opened = await uploads.open_archive(2 * CHUNK)
    session = opened["session_id"]
    await uploads.send_part(session, 0, part(0))
    assert (await uploads.call("DELETE", f"uploads/{session}"))["status"] == "aborted"
    assert (await uploads.call("DELETE", f"uploads/{session}"))["status"] == "aborted"

    assert len(await uploads.emitted(UploadAborted)) == 1
    await uploads.call("GET", f"models/{opened['model_id']}", 404)
    late = await uploads.send_part(session, 1, part(1), status=409)
    assert "aborted" in late["error"]["message"]
    await uploads.complete(session, status=409)


async def test_a_part_that_arrives_while_the_session_ends_is_dropped(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    began, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield part(0, CHUNK - 1)
        began.set()
        await go_on.wait()
        yield part(0, 1)

    sending = asyncio.create_task(uploads.call("POST", f"uploads/{session}/parts?part_number=0", 409, data=body()))
    await began.wait()
    await uploads.call("DELETE", f"uploads/{session}")
    go_on.set()
    assert "aborted" in (await sending)["error"]["message"]
    dropped = [key for event in await uploads.emitted(ObjectDropped) for key in event.keys]
    assert set(await uploads.stored()) == set(dropped)


async def test_a_body_for_which_there_is_no_slot_is_refused_before_it_is_read(uploads: Uploads) -> None:
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    slots = uploads.dependencies.incoming
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


async def test_the_verdict_is_asked_for_with_every_file(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    assert asked.model_id == done["model_id"]
    assert {(file.path, file.size_bytes, file.sha256) for file in asked.files} == {
        (path, len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()
    }


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


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("model_name", "", "model_name"),
        ("model_name", " blank", "printable characters"),
        ("model_name", "line\n", "printable characters"),
        ("version", "1.0.0\n", "a version of up to 64"),
        ("sha256", "0" * 63, "64 hexadecimal digits"),
        ("archive_size", 0, "archive_size"),
        ("archive_format", "zip", "'tar', 'tar.bz2', 'tar.gz'"),
    ],
)
async def test_a_wrong_field_is_named_with_what_it_should_be(
    uploads: Uploads, field: str, value: str | int, expected: str
) -> None:
    body = {"model_name": "tiny", "archive_size": 1, "archive_format": "tar"} | {field: value}
    error = (await uploads.call("POST", "uploads/archive", 400, json=body))["error"]
    assert error["param"] == field
    assert expected in error["message"]
