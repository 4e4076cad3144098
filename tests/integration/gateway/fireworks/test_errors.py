"""What is refused, in Google's shape, and what the message says to do."""

from __future__ import annotations

from typing import Any

import pytest

from libs.contracts import (
    ArchiveRejected,
    ModelMetadata,
    ModelRejected,
    ModelValidationRequested,
    Report,
    UploadOpened,
    ValidationOptions,
    findings,
)
from libs.db import connection
from services.gateway.limits.terms import Limits
from services.gateway.projects.access import ProjectKey
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.sweepers import expire_uploads
from tests.integration.gateway.fireworks.calls import Fireworks, now
from tests.integration.gateway.harness import FILES, PROJECT, Uploads
from tests.integration.gateway.serving import serving


async def refused(fireworks: Fireworks, method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
    """The error, which has Google's shape."""
    answer = await fireworks.call(method, path, status, **request)
    assert set(answer) == {"error"}
    error: dict[str, Any] = answer["error"]
    assert error["code"] == status
    assert set(error) <= {"code", "status", "message", "details"}
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("DELETE", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/nothing:validateUpload", 404, "NOT_FOUND"),
        ("GET", "/nothing:somethingElse", 404, "NOT_FOUND"),
        ("GET", "/a/b/c", 404, "NOT_FOUND"),
        ("PATCH", "/tiny", 405, "INVALID_ARGUMENT"),
        ("POST", "", 400, "INVALID_ARGUMENT"),
        ("POST", "/tiny:getUploadEndpoint", 400, "INVALID_ARGUMENT"),
        ("GET", "?pageSize=-1", 400, "INVALID_ARGUMENT"),
        ("GET", "?pageToken=_", 400, "INVALID_ARGUMENT"),
        ("GET", "/tiny:validateUpload?configOnly=perhaps", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_every_error_has_googles_shape(
    fireworks: Fireworks, method: str, path: str, status: int, name: str
) -> None:
    await fireworks.create()
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    assert (await refused(fireworks, method, path, status, **body))["status"] == name


async def test_a_wrong_key_has_it_too(fireworks: Fireworks) -> None:
    async with serving(fireworks.uploads.dependencies) as client:
        for path in ("", "/tiny", "/tiny:validateUpload"):
            async with client.get(f"/v1/accounts/{PROJECT}/models{path}") as response:
                assert response.status == 401
                assert (await response.json())["error"]["status"] == "UNAUTHENTICATED"
                assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"modelId": "a/b"}, "a model id of up to 200 letters"),
        ({"modelId": "a:b"}, "a model id of up to 200 letters"),
        ({"model": {"kind": "HF_PEFT_ADDON"}}, "only HF_BASE_MODEL"),
        ({"model": {"baseModelDetails": {"checkpointFormat": "NATIVE"}}}, "only HUGGINGFACE"),
    ],
)
async def test_what_cannot_be_created(fireworks: Fireworks, changed: dict[str, Any], said: str) -> None:
    error = await refused(fireworks, "POST", "", 400, json={"modelId": "tiny", **changed})
    assert error["status"] == "INVALID_ARGUMENT"
    assert said in error["message"]
    assert (await fireworks.call("GET"))["models"] == []


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({}, "filenameToSize"),
        ({"../x": 1}, "'..'"),
        ({"a": -1}, "filenameToSize"),
        ({"a": "1.5"}, "filenameToSize"),
        ({"a.bin": 1, "A.bin": 1}, "A.bin"),
        ({"model.bin": 2**60}, "SLIPWAY_MAX_MODEL_BYTES"),
    ],
)
async def test_what_cannot_be_announced(fireworks: Fireworks, sizes: dict[str, Any], said: str) -> None:
    await fireworks.create()
    error = await refused(fireworks, "POST", "/tiny:getUploadEndpoint", 400, json={"filenameToSize": sizes})
    assert error["status"] == "INVALID_ARGUMENT"
    assert said in error["message"]


async def test_sizes_may_be_texts_and_files_may_be_in_folders(fireworks: Fireworks) -> None:
    await fireworks.create()
    body = {"filenameToSize": {"config.json": "2", "1_Pooling/ü %.json": 2}, "readMask": "x"}
    urls = (await fireworks.call("POST", "/tiny:getUploadEndpoint", json=body))["filenameToSignedUrls"]
    assert set(urls) == set(body["filenameToSize"])
    await fireworks.put(urls["1_Pooling/ü %.json"], b"{}")


async def test_missing_files_are_named(fireworks: Fireworks) -> None:
    """First those that were not announced, then those that have not arrived; nothing begins meanwhile."""
    await fireworks.create()
    error = await fireworks.validate(status=400)
    assert error["status"] == "FAILED_PRECONDITION"
    assert "config.json, model.safetensors" in error["message"]
    urls = await fireworks.urls()
    await fireworks.put(urls["config.json"], FILES["config.json"])
    error = await fireworks.validate(status=400)
    assert error["status"] == "FAILED_PRECONDITION"
    assert "1 file(s) have not arrived: model.safetensors." in error["message"]
    assert error["details"][0]["missing"] == ["model.safetensors"]
    assert await fireworks.uploads.emitted(UploadOpened) == []


async def test_a_model_without_weights_is_refused_before_anything_is_taken(fireworks: Fireworks) -> None:
    files = {"config.json": b"{}"}
    await fireworks.create(files=files)
    await fireworks.put_all(files)
    error = await fireworks.validate(status=400)
    assert error["status"] == "INVALID_ARGUMENT"
    assert "There are no model weights" in error["message"]
    more = {"model.safetensors": b"weights"}
    await fireworks.put_all(more)
    assert "still being read" in (await fireworks.validate(status=400))["message"]


async def test_a_file_of_another_size_is_named_and_can_be_put_again(fireworks: Fireworks) -> None:
    """To the same URL, or announced anew."""
    await fireworks.create()
    await fireworks.put_all()
    urls = await fireworks.urls()
    await fireworks.put(urls["config.json"], b"too long")
    error = await fireworks.validate(status=400)
    assert error["status"] == "INVALID_ARGUMENT"
    assert "config.json has 8 bytes, 2 were announced" in error["message"]
    await fireworks.urls({"config.json": b"too long"})
    error = await fireworks.validate(status=400)
    assert error["status"] == "FAILED_PRECONDITION"
    assert "still being read" in error["message"]
    await fireworks.extract()
    assert "is being checked" in (await fireworks.validate(status=400))["message"]


async def test_a_file_that_changed_after_it_was_looked_at_is_sent_again(fireworks: Fireworks) -> None:
    """The extractor's finding is said once, and the upload goes on with the file that is put then."""
    await fireworks.create()
    await fireworks.put_all()
    await fireworks.validate(status=400)
    opened = {each.stream.path: each.stream for each in await fireworks.uploads.emitted(UploadOpened)}
    stream = opened["config.json"]
    finding = findings.error("file-size", "The stored object has 3 bytes, not 2.", "Send it again.", file="config.json")
    await fireworks.deliver(ArchiveRejected(upload_id=stream.upload_id, stream_id=stream.id, finding=finding, at=now()))
    await fireworks.put((await fireworks.urls())["config.json"], FILES["config.json"])
    assert (await fireworks.validate(status=400))["status"] == "FAILED_PRECONDITION"
    again = [each.stream for each in await fireworks.uploads.emitted(UploadOpened)][-1]
    assert (again.path, again.id) == ("config.json", f"{stream.id}-1")


async def test_a_refused_model_says_why_and_begins_anew(fireworks: Fireworks) -> None:
    """As another version, when its URLs are asked for; the script can be run again from the top."""
    await fireworks.create()
    await fireworks.put_all()
    await fireworks.validate(status=400)
    await fireworks.extract()
    [asked] = await fireworks.uploads.emitted(ModelValidationRequested)
    found = findings.error(
        "safetensors-hole", "Bytes 8 to 16 belong to no tensor.", "Save it again.", file="model.safetensors"
    )
    report = Report(findings=[found], metadata=ModelMetadata(), files_read=1, bytes_read=1, validator="test")
    await fireworks.deliver(
        ModelRejected(model_id=asked.model_id, validation_id=asked.validation_id, report=report, at=now())
    )
    error = await fireworks.validate(status=400)
    assert error["status"] == "INVALID_ARGUMENT"
    assert "model.safetensors: Bytes 8 to 16 belong to no tensor. Save it again." in error["message"]
    shown = await fireworks.call("GET", "/tiny")
    assert (shown["state"], shown["status"]["code"]) == ("UPLOADING", "INVALID_ARGUMENT")
    error = await fireworks.validate(status=400, query="?trustRemoteCode=true")
    assert error["status"] == "FAILED_PRECONDITION"  # checked anew, since it was not asked like this before
    asked = (await fireworks.uploads.emitted(ModelValidationRequested))[-1]
    assert asked.options == ValidationOptions(trust_remote_code=True)
    await fireworks.deliver(
        ModelRejected(model_id=asked.model_id, validation_id=asked.validation_id, report=report, at=now())
    )
    again = await fireworks.create()
    assert again["status"]["code"] == "ALREADY_EXISTS"
    assert "begins its upload anew" in again["status"]["message"]
    await fireworks.put_all()
    assert (await fireworks.validate(status=400))["status"] == "FAILED_PRECONDITION"
    await fireworks.extract()
    asked = (await fireworks.uploads.emitted(ModelValidationRequested))[-1]
    await fireworks.uploads.validate(asked.model_id)
    assert await fireworks.validate() == {}


async def test_an_expired_upload_begins_anew(fireworks: Fireworks) -> None:
    await fireworks.create()
    await fireworks.put_all()
    async with connection(fireworks.uploads.pool) as tx:
        await tx.execute("UPDATE upload SET expires_at = now() - interval '1 second'")
    config = fireworks.uploads.dependencies.config
    await expire_uploads(fireworks.uploads.pool, now(), lifetime(config))
    assert "Nothing arrived" in (await fireworks.validate(status=400))["message"]
    await fireworks.put_all()
    assert "still being read" in (await fireworks.validate(status=400))["message"]


async def test_an_upload_of_another_kind_is_left_alone(fireworks: Fireworks) -> None:
    session = await fireworks.uploads.open_directory(FILES)
    assert (await fireworks.create())["status"]["code"] == "ALREADY_EXISTS"
    body = {"filenameToSize": {"config.json": 2}}
    error = await refused(fireworks, "POST", "/tiny:getUploadEndpoint", 400, json=body)
    assert error["status"] == "FAILED_PRECONDITION"
    assert session["session_id"] in error["message"]
    assert (await fireworks.validate(status=400))["status"] == "FAILED_PRECONDITION"


async def test_signed_uploads_are_completed_by_validate_only(fireworks: Fireworks) -> None:
    await fireworks.create()
    await fireworks.put_all()
    [session] = (await fireworks.uploads.call("GET", "uploads"))["data"]
    assert session["kind"] == "signed"
    answer = await fireworks.uploads.complete(session["session_id"], 409)
    assert "models/tiny:validateUpload" in answer["error"]["message"]
    await fireworks.uploads.call("DELETE", f"uploads/{session['session_id']}")
    await refused(fireworks, "GET", "/tiny", 404)


async def test_what_is_announced_counts_against_the_projects_limit(fireworks: Fireworks) -> None:
    """It is reserved once, however often it is announced; and what is too much is refused before any byte is sent."""
    limited = ProjectKey(
        project_id=PROJECT,
        project_slug="test",
        key_id="key",
        scopes=frozenset({"models"}),
        limits=Limits(stored_bytes=1000, open_uploads=1),
    )

    async def authenticate(_: str) -> ProjectKey:
        return limited

    shared = fireworks.uploads.dependencies
    async with serving(shared, token="any", authenticate=authenticate) as client:
        limited_to = Fireworks(Uploads(client, shared))
        await limited_to.create()
        for _ in range(3):
            await limited_to.urls()
        body = {"filenameToSize": {"more.bin": 1000}}
        error = await refused(limited_to, "POST", "/tiny:getUploadEndpoint", 429, json=body)
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert "stored_bytes" in error["message"]
        error = await refused(limited_to, "POST", "", 429, json={"modelId": "another"})
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert "open_uploads" in error["message"]
