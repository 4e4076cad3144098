"""Uploads end: aborted by their client, or complete, with the question for the verdict."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from libs.contracts import (
    ModelValidationRequested,
    ObjectDropped,
    UploadAborted,
)
from tests.integration.gateway.harness import CHUNK, FILES, Uploads, part


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


async def test_the_verdict_is_asked_for_with_every_file(uploads: Uploads) -> None:
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    assert asked.model_id == done["model_id"]
    assert {(file.path, file.size_bytes, file.sha256) for file in asked.files} == {
        (path, len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()
    }
