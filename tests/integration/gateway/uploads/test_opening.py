"""Uploads are opened: once under one Idempotency-Key, each as a version of its own, and for what may be asked for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.uploads.sweepers import prune_uploads
from tests.integration.gateway.harness import FILES, Uploads

ARCHIVE: dict[str, Any] = {"model_name": "tiny", "archive_size": 10, "archive_format": "tar"}
DIRECTORY: dict[str, Any] = {"model_name": "tiny", "files": [{"relative_path": "config.json", "size": 2}]}


async def open_by(uploads: Uploads, key: str, body: dict[str, Any] = ARCHIVE, status: int = 200) -> dict[str, Any]:
    kind = "archive" if "archive_size" in body else "directory"
    return await uploads.call("POST", f"uploads/{kind}", status, json=body, headers={"Idempotency-Key": key})


async def test_the_same_key_opens_one_session_and_answers_the_same(uploads: Uploads) -> None:
    for body in (ARCHIVE, DIRECTORY):
        first = await open_by(uploads, body["model_name"] + str(len(body)), body)
        assert await open_by(uploads, body["model_name"] + str(len(body)), body) == first
    assert len((await uploads.call("GET", "uploads"))["data"]) == 2


async def test_racing_requests_under_one_key_open_one_session(uploads: Uploads) -> None:
    answers = await asyncio.gather(*(open_by(uploads, "key") for _ in range(8)))
    assert len({answer["session_id"] for answer in answers}) == 1
    assert len((await uploads.call("GET", "uploads"))["data"]) == 1


async def test_a_key_with_another_body_is_a_conflict_and_a_refused_opening_takes_none(uploads: Uploads) -> None:
    await open_by(uploads, "key")
    refused = await open_by(uploads, "key", {**ARCHIVE, "archive_size": 11}, 409)
    assert refused["error"]["param"] == "Idempotency-Key"
    taken = {**ARCHIVE, "version": "1.0.0"}
    await open_by(uploads, "other", taken, 409)
    await open_by(uploads, "other", {**taken, "version": "2.0.0"})
    await open_by(uploads, "x" * 256, status=400)


async def test_a_key_is_forgotten_after_a_day(uploads: Uploads) -> None:
    first = await open_by(uploads, "key")
    await prune_uploads(uploads.pool, datetime.now(UTC) + timedelta(hours=25), timedelta(days=7))
    assert (await open_by(uploads, "key"))["session_id"] != first["session_id"]


async def test_a_slot_says_whether_hashing_its_file_first_can_save_sending_it(uploads: Uploads) -> None:
    await uploads.upload_directory(FILES, "first")
    opened = await uploads.open_directory({**FILES, "more.txt": b"123"}, "second")
    assert [(slot["known_size"], slot["present"]) for slot in opened["files"]] == [
        (True, False),
        (True, False),
        (False, False),
    ]


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
