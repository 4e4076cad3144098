"""The upload routes: what is sent counts once, whoever sends it, in whatever order."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from libs.contracts import (
    ModelRegistered,
    ModelValidationRequested,
    ObjectDropped,
    UploadAborted,
    UploadCompleted,
    UploadFailed,
    UploadOpened,
    UploadPartStored,
)
from tests.integration.gateway.uploading import FILES, NOON, Uploads, extracted

CHUNK = 1000  # bytes, as the fixture sets it


def part(number: int, size: int = CHUNK) -> bytes:
    return bytes([number]) * size


async def test_the_documented_answers_of_an_archive(uploads: Uploads):
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


async def test_parts_in_any_order_and_in_parallel_are_told_to_the_extractor_once_each(uploads: Uploads):
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


async def test_the_same_part_again_changes_nothing(uploads: Uploads):
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    first = await uploads.send_part(session, 0, part(0))
    again = await uploads.send_part(session, 0, part(0))

    assert again == first
    assert len(await uploads.emitted()) == 1
    assert len(await uploads.stored()) == 1


async def test_other_bytes_for_a_stored_part_are_a_conflict(uploads: Uploads):
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    await uploads.send_part(session, 0, part(0))
    refused = await uploads.send_part(session, 0, part(1), status=409)

    assert refused["error"]["code"] == "part_conflict"
    assert "abort" in refused["error"]["message"]
    assert len(await uploads.stored()) == 1


async def test_of_racing_requests_for_one_part_one_is_recorded_and_the_others_objects_are_dropped(uploads: Uploads):
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


async def test_a_part_that_is_not_what_was_declared_does_not_count(uploads: Uploads):
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
    assert await uploads.emitted() == []


async def test_a_body_of_unannounced_length_is_measured(uploads: Uploads):
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]

    async def body(size: int):
        yield part(0, size)

    path = f"uploads/{session}/parts?part_number=0"
    for size in (CHUNK - 1, CHUNK + 1):
        refused = await uploads.call("POST", path, 400, data=body(size))
        assert refused["error"]["code"] == "part_size_mismatch"
    assert (await uploads.call("POST", path, data=body(CHUNK)))["size"] == CHUNK


async def test_completing_too_early_names_what_is_missing(uploads: Uploads):
    session = (await uploads.open_archive(5 * CHUNK))["session_id"]
    for number in (0, 3):
        await uploads.send_part(session, number, part(number))
    refused = await uploads.complete(session, status=409)

    assert refused["error"]["code"] == "parts_missing"
    assert "1-2, 4" in refused["error"]["message"]
    assert refused["error"]["missing"] == [[1, 2], [4, 4]]


async def test_complete_answers_202_until_the_extractor_is_done_and_then_the_files(uploads: Uploads):
    opened = await uploads.open_archive(CHUNK)
    session = opened["session_id"]
    await uploads.send_part(session, 0, part(0))

    waiting = await uploads.complete(session, status=202)
    assert waiting["status"] == "processing"
    assert (await uploads.model(opened["model_id"]))["status"] == "processing"
    [completed] = await uploads.emitted(UploadCompleted)
    assert completed.stream_ids == [f"{session}-0"]

    answering = asyncio.create_task(uploads.complete(session, wait_s=30))
    await uploads.tell(extracted(session))
    done = await answering
    assert done == await uploads.complete(session)
    assert done["status"] == "completed"
    assert done["file_count"] == 2
    assert done["total_size"] == sum(map(len, FILES.values()))
    assert [file["relative_path"] for file in done["files"]] == ["config.json", "model.safetensors"]
    assert len(await uploads.emitted(UploadCompleted)) == 1


async def test_an_extractor_that_kept_pace_makes_complete_immediate(uploads: Uploads):
    opened = await uploads.open_archive(CHUNK)
    await uploads.send_part(opened["session_id"], 0, part(0))
    await uploads.tell(extracted(opened["session_id"]))

    assert (await uploads.complete(opened["session_id"]))["status"] == "completed"
    assert (await uploads.model(opened["model_id"]))["status"] == "validating"


async def test_an_archive_without_what_a_model_needs_fails_at_complete(uploads: Uploads):
    opened = await uploads.open_archive(CHUNK)
    await uploads.send_part(opened["session_id"], 0, part(0))
    await uploads.tell(extracted(opened["session_id"], {"README.md": b"hello"}))

    refused = await uploads.complete(opened["session_id"], status=422)
    assert refused["error"]["code"] == "archive_rejected"
    assert "config.json" in refused["error"]["message"]
    model = await uploads.model(opened["model_id"])
    assert model["status"] == "error"
    assert "config.json" in model["status_reason"]
    assert len(await uploads.emitted(UploadFailed)) == 1


async def test_a_directory_is_sent_file_by_file(uploads: Uploads):
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


async def test_paths_outside_the_manifest_are_refused(uploads: Uploads):
    session = (await uploads.open_directory(FILES))["session_id"]
    assert (await uploads.send_file(session, "other.json", b"{}", status=404))["error"]["code"] == "not_found"
    escaping = await uploads.send_file(session, "..%2Fconfig.json", b"{}", status=400)
    assert ".." in escaping["error"]["message"]


async def test_a_manifest_with_paths_that_may_not_be_is_refused(uploads: Uploads):
    for path in ("../x", "/etc/passwd", "a\\b", "a\x00b", ""):
        files = [{"relative_path": path, "size": 1}]
        body = {"model_name": "tiny", "files": files}
        assert (await uploads.call("POST", "uploads/directory", 400, json=body))["error"]["code"] == "invalid_request"
    twice = [{"relative_path": path, "size": 1} for path in ("Config.json", "config.json")]
    await uploads.call("POST", "uploads/directory", 400, json={"model_name": "tiny", "files": twice})


async def test_completing_a_directory_names_the_files_that_are_missing(uploads: Uploads):
    session = (await uploads.open_directory(FILES))["session_id"]
    await uploads.send_file(session, "config.json", FILES["config.json"])
    refused = await uploads.complete(session, status=409)
    assert refused["error"]["missing"] == ["model.safetensors"]
    assert "model.safetensors" in refused["error"]["message"]


async def test_a_file_can_be_sent_in_chunks_that_the_extractor_joins(uploads: Uploads):
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
    await uploads.tell(type(joined)(upload_id=session, stream_id=f"{session}-1", files=joined.files, at=NOON))
    done = await uploads.complete(session)
    assert done["total_size"] == sum(map(len, FILES.values()))


async def test_chunks_of_one_file_sent_at_once_do_not_block_each_other(uploads: Uploads):
    """Any that deadlocked would be answered 503."""
    data = bytes(range(200)) * 10
    session = (await uploads.open_directory({"model.safetensors": data}))["session_id"]
    path = "model.safetensors?part_count=20&part_number="
    await asyncio.gather(*(uploads.send_file(session, f"{path}{n}", data[n * 100 : (n + 1) * 100]) for n in range(20)))
    assert (await uploads.call("GET", f"uploads/{session}"))["files"][0]["status"] == "received"


async def test_uploads_of_the_same_content_completed_at_once_do_not_block_each_other(uploads: Uploads):
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


async def test_a_file_that_the_project_has_need_not_be_sent_again(uploads: Uploads):
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


async def test_what_was_sent_twice_is_stored_once(uploads: Uploads):
    first = await uploads.upload_directory(FILES, "first")
    second = await uploads.upload_directory(FILES, "second")

    registered = {event.model_id: event.files for event in await uploads.emitted(ModelRegistered)}
    assert registered[first["model_id"]] == registered[second["model_id"]]
    kept = {file.key for file in registered[first["model_id"]]}
    assert len(kept) == 2
    assert kept < set(await uploads.stored())  # the second copies wait for lifecycle to remove them


async def test_versions_of_a_name_and_which_is_the_latest(uploads: Uploads):
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


async def test_racing_uploads_of_one_name_get_versions_of_their_own(uploads: Uploads):
    opened = await asyncio.gather(*(uploads.open_archive(1) for _ in range(8)))
    assert len({each["version"] for each in opened}) == 8


async def test_an_aborted_upload_leaves_no_model_and_takes_no_more(uploads: Uploads):
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


async def test_a_part_that_arrives_while_the_session_ends_is_dropped(uploads: Uploads):
    session = (await uploads.open_archive(2 * CHUNK))["session_id"]
    began, go_on = asyncio.Event(), asyncio.Event()

    async def body():
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


async def test_the_verdict_is_asked_for_with_every_file(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    [asked] = await uploads.emitted(ModelValidationRequested)
    assert asked.model_id == done["model_id"]
    assert {(file.path, file.size_bytes, file.sha256) for file in asked.files} == {
        (path, len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()
    }


async def test_uploads_are_listed_newest_first_in_pages(uploads: Uploads):
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
async def test_a_wrong_field_is_named_with_what_it_should_be(uploads: Uploads, field, value, expected):
    body = {"model_name": "tiny", "archive_size": 1, "archive_format": "tar"} | {field: value}
    error = (await uploads.call("POST", "uploads/archive", 400, json=body))["error"]
    assert error["param"] == field
    assert expected in error["message"]
