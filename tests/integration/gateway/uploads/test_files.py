"""Directories file by file, in chunks, and not at all where the project has the file."""

from __future__ import annotations

import asyncio
import hashlib

from libs.contracts import (
    ModelRegistered,
)
from tests.integration.gateway.harness import FILES, NOON, Uploads, extracted


async def test_a_directory_is_sent_file_by_file(uploads: Uploads) -> None:
    files = {**FILES, "1_Pooling/my config 100%é.json": b"{}", "empty.txt": b""}
    opened = await uploads.open_directory(files)
    session = opened["session_id"]
    progress = []
    for slot in opened["files"]:
        path = slot["upload_path"].removeprefix(f"/{opened['files'][0]['upload_path'].split('/')[1]}/v1/")
        answer = await uploads.call("POST", path, data=files[slot["relative_path"]], skip_auto_headers=())
        progress.append((answer["uploaded_file_count"], answer["expected_file_count"], answer["progress"]))

    assert progress == [(1, 4, 25.0), (2, 4, 50.0), (3, 4, 75.0), (4, 4, 100.0)]
    done = await uploads.complete(session)
    assert {file["relative_path"] for file in done["files"]} == set(files)


async def test_files_are_named_as_their_client_knows_them(uploads: Uploads) -> None:
    """On a disk that keeps names in NFD, the NFC form that is stored would name no file."""
    nfd = "cafe\u0301.json"
    opened = await uploads.open_directory({**FILES, nfd: b"{}"})
    slot = opened["files"][2]
    assert slot["relative_path"] == nfd
    for path in (nfd, "caf\u00e9.json"):
        assert (await uploads.send_file(opened["session_id"], path, b"{}"))["size"] == 2


async def test_paths_outside_the_manifest_are_refused(uploads: Uploads) -> None:
    session = (await uploads.open_directory(FILES))["session_id"]
    assert (await uploads.send_file(session, "other.json", b"{}", status=404))["error"]["code"] == "not_found"
    escaping = await uploads.send_file(session, "..%2Fconfig.json", b"{}", status=400)
    assert ".." in escaping["error"]["message"]


async def test_a_manifest_with_paths_that_may_not_be_is_refused(uploads: Uploads) -> None:
    for path in ("../x", "/etc/passwd", "a\\b", "a\x00b", ""):
        files = [{"relative_path": path, "size": 1}]
        body = {"model_name": "tiny", "files": files}
        assert (await uploads.call("POST", "uploads/directory", 400, json=body))["error"]["code"] == "invalid_request"
    twice = [{"relative_path": path, "size": 1} for path in ("Config.json", "config.json")]
    await uploads.call("POST", "uploads/directory", 400, json={"model_name": "tiny", "files": twice})


async def test_completing_a_directory_names_the_files_that_are_missing(uploads: Uploads) -> None:
    session = (await uploads.open_directory(FILES))["session_id"]
    await uploads.send_file(session, "config.json", FILES["config.json"])
    refused = await uploads.complete(session, status=409)
    assert refused["error"]["missing"] == ["model.safetensors"]
    assert "model.safetensors" in refused["error"]["message"]


async def test_a_file_can_be_sent_in_chunks_that_the_extractor_joins(uploads: Uploads) -> None:
    session = (await uploads.open_directory(FILES))["session_id"]
    weights = FILES["model.safetensors"]
    await uploads.send_file(session, "config.json", FILES["config.json"])
    path = "model.safetensors?part_count=3&part_number="
    await uploads.send_file(session, f"{path}2", weights[500:])
    state = (await uploads.call("GET", f"uploads/{session}"))["files"][1]
    assert (state["status"], state["received"], state["missing"]) == ("partial", [[2, 2]], [[0, 1]])
    await uploads.send_file(session, f"{path}0", weights[:100])
    too_short = await uploads.send_file(session, f"{path}1", weights[100:400], status=400)
    assert too_short["error"]["code"] == "part_size_mismatch"
    last = await uploads.send_file(session, f"{path}1", weights[100:500])
    assert (last["part_number"], last["uploaded_file_count"], last["progress"]) == (1, 2, 100.0)

    await uploads.complete(session, status=202)
    joined = extracted(session, {"model.safetensors": weights})
    await uploads.deliver(type(joined)(upload_id=session, stream_id=f"{session}-1", files=joined.files, at=NOON))
    done = await uploads.complete(session)
    assert done["total_size"] == sum(map(len, FILES.values()))


async def test_chunks_of_one_file_sent_at_once_do_not_block_each_other(uploads: Uploads) -> None:
    """Any that deadlocked would be answered 503."""
    data = bytes(range(200)) * 10
    session = (await uploads.open_directory({"model.safetensors": data}))["session_id"]
    path = "model.safetensors?part_count=20&part_number="
    await asyncio.gather(*(uploads.send_file(session, f"{path}{n}", data[n * 100 : (n + 1) * 100]) for n in range(20)))
    assert (await uploads.call("GET", f"uploads/{session}"))["files"][0]["status"] == "received"


async def test_uploads_of_the_same_content_completed_at_once_do_not_block_each_other(uploads: Uploads) -> None:
    """They share files that the project has, and bring the same new ones; any that deadlocked would be answered 503."""
    shared = {f"shared-{n}.txt": b"shared %d" % n for n in range(10)}
    await uploads.upload_directory({**FILES, **shared}, "first")
    new = {f"new-{n}.txt": b"new %d" % n for n in range(10)}
    listed = [
        {"relative_path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in {**FILES, **shared, **new}.items()
    ]
    sessions = []
    for n in range(8):
        opened = await uploads.call("POST", "uploads/directory", json={"model_name": f"twin-{n}", "files": listed})
        sessions.append(opened["session_id"])
        for path, data in new.items():
            await uploads.send_file(sessions[-1], path, data)

    await asyncio.gather(*(uploads.complete(session) for session in sessions))

    registered = {event.model_id: event.files for event in await uploads.emitted(ModelRegistered)}
    assert len({tuple(file.key for file in files) for files in list(registered.values())[1:]}) == 1


async def test_a_file_that_the_project_has_need_not_be_sent_again(uploads: Uploads) -> None:
    await uploads.upload_directory(FILES, "first")
    before = await uploads.stored()
    listed = [
        {"relative_path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in {**FILES, "README.md": b"new"}.items()
    ]
    opened = await uploads.call("POST", "uploads/directory", json={"model_name": "second", "files": listed})
    assert [slot["present"] for slot in opened["files"]] == [True, True, False]
    await uploads.send_file(opened["session_id"], "README.md", b"new")
    done = await uploads.complete(opened["session_id"])

    assert done["file_count"] == 3
    after = await uploads.stored()
    assert sum(after.values()) - sum(before.values()) == len(b"new")


async def test_what_was_sent_twice_is_stored_once(uploads: Uploads) -> None:
    first = await uploads.upload_directory(FILES, "first")
    second = await uploads.upload_directory(FILES, "second")

    registered = {event.model_id: event.files for event in await uploads.emitted(ModelRegistered)}
    assert registered[first["model_id"]] == registered[second["model_id"]]
    kept = {file.key for file in registered[first["model_id"]]}
    assert len(kept) == 2
    assert kept < set(await uploads.stored())  # the second copies wait for lifecycle to remove them
