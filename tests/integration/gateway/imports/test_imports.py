"""POST uploads/import: what is in the source is checked and asked for; everything after it is as of any upload."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from libs.contracts import (
    ArchiveExtracted,
    ArchiveParked,
    ArchiveRejected,
    ModelRegistered,
    StoredFile,
    UploadAborted,
    UploadCompleted,
    UploadFailed,
    UploadOpened,
    findings,
)
from libs.contracts.keys import member_key
from libs.remote import S3Credentials
from libs.remote.credentials import unseal
from libs.sealing import Keys
from services.gateway.dependencies import Dependencies
from services.gateway.uploads.sweepers import ask_extractor_again
from tests.integration.gateway.harness import FILES, NOON, PROJECT, STALE_AFTER, Uploads
from tests.integration.gateway.serving import any_key, serving
from tests.support.sources import FOLDER, Source


async def begun(gateway: Uploads, source: Source, **more: Any) -> dict[str, Any]:
    """An import that has begun, with its secret."""
    await gateway.call("POST", "secrets", 201, json=source.secret())
    return await gateway.call("POST", "uploads/import", 202, json=source.wanted(**more))


def copied(opened: UploadOpened) -> ArchiveExtracted:
    """The extractor's word that a file is copied."""
    stream = opened.stream
    key = member_key(PROJECT, stream.upload_id, stream.number, 1, 0)
    path = stream.path or ""
    file = StoredFile(path=path, size_bytes=stream.size_bytes, sha256=f"{stream.number:064x}", key=key)
    return ArchiveExtracted(upload_id=stream.upload_id, stream_id=stream.id, files=[file], at=NOON)


async def test_an_import_is_in_processing_from_its_beginning_and_ends_as_a_model(
    gateway: Uploads, source: Source
) -> None:
    answer = await begun(gateway, source)
    assert {file["relative_path"]: file["size"] for file in answer["files"]} == {p: len(c) for p, c in FILES.items()}
    assert (answer["status"], answer["file_count"], answer["source"]) == ("processing", len(FILES), source.source)
    opened = await gateway.emitted(UploadOpened)
    [completed] = await gateway.emitted(UploadCompleted)
    assert completed.stream_ids == [event.stream.id for event in opened]
    shown = await gateway.call("GET", f"uploads/{answer['session_id']}")
    assert (shown["kind"], shown["status"], shown["progress"]) == ("import", "processing", 0)
    assert shown["source"] == source.source
    assert [file["status"] for file in shown["files"]] == ["missing", "missing"]

    await gateway.deliver(copied(opened[0]))
    shown = await gateway.call("GET", f"uploads/{answer['session_id']}")
    assert (shown["uploaded_file_count"], shown["expected_file_count"]) == (1, 2)
    assert 0 < shown["progress"] < 100
    assert not await gateway.emitted(ModelRegistered)

    for _ in range(2):  # a redelivery changes nothing
        await gateway.deliver(copied(opened[1]))
    [registered] = await gateway.emitted(ModelRegistered)
    assert [file.path for file in registered.files] == sorted(FILES)
    shown = await gateway.call("GET", f"uploads/{answer['session_id']}")
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    assert (await gateway.complete(answer["session_id"]))["file_count"] == len(FILES)


async def test_what_the_extractor_is_told_opens_only_with_the_key(gateway: Uploads, source: Source) -> None:
    await begun(gateway, source)
    [first, *_] = await gateway.emitted(UploadOpened)
    remote = first.stream.remote
    assert remote is not None
    assert (remote.kind, remote.endpoint, remote.container) == ("s3", source.endpoint, source.bucket)
    assert remote.key == f"{FOLDER}/{first.stream.path}"
    assert source.credentials.secret_access_key not in str(msgspec.json.encode(first))
    keys = Keys.parse(gateway.dependencies.config.secrets_key)
    assert unseal(keys, PROJECT, "source", remote.credentials or "") == source.credentials


async def test_location_says_where_to_look(gateway: Uploads, source: Source) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    async with gateway.client.post("/v1/uploads/import", json=source.wanted()) as response:
        session = (await response.json())["session_id"]
        assert response.headers["Location"].endswith(f"/{PROJECT}/v1/uploads/{session}")


async def test_the_same_idempotency_key_begins_one_import_also_when_the_source_is_gone(
    gateway: Uploads, source: Source
) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    ask = {"json": source.wanted(), "headers": {"Idempotency-Key": "once"}}
    first = await gateway.call("POST", "uploads/import", 202, **ask)
    await source.blobs.delete([f"{FOLDER}/{path}" for path in FILES])
    assert await gateway.call("POST", "uploads/import", 202, **ask) == first
    assert len(await gateway.emitted(UploadCompleted)) == 1


async def test_a_file_that_the_extractor_refuses_ends_the_import(gateway: Uploads, source: Source) -> None:
    answer = await begun(gateway, source)
    [first, *_] = await gateway.emitted(UploadOpened)
    finding = findings.error("source-changed", "the file was changed.", "Import it again.", file="config.json")
    rejected = ArchiveRejected(upload_id=first.stream.upload_id, stream_id=first.stream.id, finding=finding, at=NOON)
    for _ in range(2):
        await gateway.deliver(rejected)
    [failed] = await gateway.emitted(UploadFailed)
    assert "was changed" in failed.reason
    shown = await gateway.call("GET", f"uploads/{answer['session_id']}")
    assert (shown["status"], shown["error"]["code"]) == ("failed", "import_failed")
    assert (await gateway.model(answer["model_id"]))["status"] == "error"


async def test_a_source_that_is_away_shows_in_the_upload(gateway: Uploads, source: Source) -> None:
    answer = await begun(gateway, source)
    [first, *_] = await gateway.emitted(UploadOpened)
    reason = "The source does not answer."
    await gateway.deliver(
        ArchiveParked(
            upload_id=first.stream.upload_id, stream_id=first.stream.id, reason=reason, retry_at=NOON, at=NOON
        )
    )
    assert (await gateway.call("GET", f"uploads/{answer['session_id']}"))["waiting_for"] == reason


async def test_an_import_can_be_aborted(gateway: Uploads, source: Source) -> None:
    answer = await begun(gateway, source)
    await gateway.call("DELETE", f"uploads/{answer['session_id']}")
    assert len(await gateway.emitted(UploadAborted)) == 1
    await gateway.deliver(copied((await gateway.emitted(UploadOpened))[0]))
    assert not await gateway.emitted(ModelRegistered)


async def test_nothing_can_be_sent_to_an_import(gateway: Uploads, source: Source) -> None:
    session = (await begun(gateway, source))["session_id"]
    refused = await gateway.send_file(session, "config.json", b"{}", 409)
    assert "read from their source" in refused["error"]["message"]
    await gateway.send_part(session, 0, b"x", 409)


async def test_a_silent_extractor_is_asked_again_with_the_present_secret(gateway: Uploads, source: Source) -> None:
    await begun(gateway, source)
    before = await gateway.emitted(UploadOpened)
    replaced = source.secret() | {"secret_access_key": "another-secret-key"}
    await gateway.call("POST", "secrets", 200, json=replaced)
    renewed = (await gateway.emitted(UploadOpened))[len(before) :]
    assert [event.stream.id for event in renewed] == [event.stream.id for event in before]
    keys = Keys.parse(gateway.dependencies.config.secrets_key)
    for event in renewed:
        assert event.stream.remote is not None
        opened = unseal(keys, PROJECT, "source", event.stream.remote.credentials or "")
        assert isinstance(opened, S3Credentials)
        assert opened.secret_access_key == "another-secret-key"
    await gateway.pool.execute("UPDATE upload_stream SET deadline_at = $1", NOON)
    await ask_extractor_again(gateway.pool, NOON + 2 * STALE_AFTER, STALE_AFTER)
    asked = (await gateway.emitted(UploadOpened))[len(before) + len(renewed) :]
    assert {event.stream.id: event.stream for event in asked} == {e.stream.id: e.stream for e in renewed}


async def test_a_deleted_secret_is_taken_from_imports_under_way(gateway: Uploads, source: Source) -> None:
    await begun(gateway, source)
    before = len(await gateway.emitted(UploadOpened))
    await gateway.call("DELETE", "secrets/source")
    for event in (await gateway.emitted(UploadOpened))[before:]:
        assert event.stream.remote is not None
        assert (event.stream.remote.secret, event.stream.remote.credentials) == ("source", None)


# What is wrong with a source is said before anything is recorded


async def refused(gateway: Uploads, wanted: dict[str, Any], status: int = 400) -> dict[str, Any]:
    """The error of an import that must not begin, and leaves no model behind."""
    error: dict[str, Any] = (await gateway.call("POST", "uploads/import", status, json=wanted))["error"]
    assert await gateway.pool.fetchval("SELECT count(*) FROM model") == 0
    return error


async def test_what_a_model_lacks_is_said_before_anything_is_copied(gateway: Uploads, source: Source) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    await source.blobs.delete([f"{FOLDER}/config.json"])
    error = await refused(gateway, source.wanted(), 422)
    assert error["code"] == "required_files_missing"
    assert "config.json is missing" in error["message"]


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"source": "s3://no-such-bucket/models"}, "source_not_found", "no-such-bucket"),
        ({"source": "s3://{bucket}/elsewhere"}, "source_not_found", "There are no files below 'elsewhere/'"),
        ({"secret": None}, "source_access_denied", "without a secret"),
        ({"secret": "other"}, "invalid_request", "There is no secret 'other'"),
        ({"endpoint": "http://127.0.0.1:1"}, "endpoint_not_allowed", "SLIPWAY_IMPORT_ENDPOINTS"),
        ({"endpoint": "https://10.0.0.1"}, "endpoint_not_allowed", "SLIPWAY_IMPORT_ENDPOINTS"),
        ({"endpoint": "ftp://example.com"}, "invalid_request", "endpoint"),
        ({"endpoint": "http://user:word@example.com"}, "invalid_request", "endpoint"),
        ({"source": "models/tiny"}, "invalid_request", "neither in S3 nor in Azure"),
        ({"source": "s3://"}, "invalid_request", "names no bucket"),
        ({"source": "https://example.com/models"}, "invalid_request", "neither in S3 nor in Azure"),
        ({"region": "../x"}, "invalid_request", "eu-west-1"),
    ],
)
async def test_what_is_wrong_with_the_source(
    gateway: Uploads, source: Source, changes: dict[str, Any], code: str, says: str
) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    changes = {name: text and text.format(bucket=source.bucket) for name, text in changes.items()}
    error = await refused(gateway, source.wanted() | changes)
    assert error["code"] == code, error
    assert says in error["message"]


async def test_a_secret_that_the_source_refuses_is_named(gateway: Uploads, source: Source) -> None:
    wrong = source.secret() | {"secret_access_key": "wrong-secret-access-key"}
    await gateway.call("POST", "secrets", 201, json=wrong)
    error = await refused(gateway, source.wanted())
    assert error["code"] == "source_access_denied"
    assert "the secret 'source'" in error["message"]
    assert "wrong-secret" not in str(error)


@pytest.mark.parametrize("path", ["a\\b.txt", "CONFIG.json"])
async def test_paths_are_those_that_any_upload_may_have(gateway: Uploads, source: Source, path: str) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    await source.put({path: b"x"})
    await refused(gateway, source.wanted())


async def test_what_macos_adds_is_left_out(gateway: Uploads, source: Source) -> None:
    await source.put({"._config.json": b"x", ".DS_Store": b"x"})
    answer = await begun(gateway, source)
    assert sorted(answer["dropped"]) == [".DS_Store", "._config.json"]
    assert answer["file_count"] == len(FILES)


async def test_more_than_this_installation_takes_is_refused(gateway: Uploads, source: Source) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    shared = gateway.dependencies
    config = msgspec.structs.replace(shared.config, max_model_bytes=100)
    small = Dependencies(shared.pool, shared.signals, shared.blobs, shared.bus, config)
    async with serving(small, token="any", authenticate=any_key) as client:
        error = await refused(Uploads(client, small), source.wanted())
    assert "SLIPWAY_MAX_MODEL_BYTES" in error["message"]


async def test_two_imports_of_one_name_are_two_versions(gateway: Uploads, source: Source) -> None:
    await gateway.call("POST", "secrets", 201, json=source.secret())
    asked = (gateway.call("POST", "uploads/import", 202, json=source.wanted()) for _ in range(2))
    versions = {answer["version"] for answer in await asyncio.gather(*asked)}
    assert len(versions) == 2
