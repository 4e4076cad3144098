"""The steps of the documented script, each of them repeated, and in the wrong order."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
from yarl import URL

from libs.contracts import ModelValidationRequested, UploadCompleted, UploadOpened
from tests.integration.gateway.fireworks.calls import Fireworks
from tests.integration.gateway.harness import FILES, PROJECT, Uploads
from tests.integration.gateway.serving import any_key, serving
from tests.support.eventually import eventually


async def test_a_model_becomes_ready(fireworks: Fireworks) -> None:
    created = await fireworks.create(displayName="A tiny one", description="For tests.", unknown={"x": 1})
    assert created["name"] == "accounts/test/models/tiny"
    assert (created["state"], created["displayName"], created["kind"]) == ("UPLOADING", "A tiny one", "HF_BASE_MODEL")
    await fireworks.put_all()
    assert (await fireworks.validate(status=400))["status"] == "FAILED_PRECONDITION"
    await fireworks.extract()
    waiting = await fireworks.validate(status=400)
    assert waiting["status"] == "FAILED_PRECONDITION"
    assert "is being checked" in waiting["message"]
    model = await fireworks.uploads.call("GET", "models/tiny?extended=true")
    await fireworks.uploads.validate(model["id"])
    assert await fireworks.validate() == {}
    shown = await fireworks.call("GET", "/tiny")
    assert (shown["state"], shown["status"]) == ("READY", {"code": "OK", "message": ""})
    assert shown["baseModelDetails"]["huggingfaceFiles"] == sorted(FILES)
    assert shown["description"] == "For tests."


async def test_the_kept_bytes_are_not_those_that_a_url_still_reaches(fireworks: Fireworks) -> None:
    """What is PUT once the model is READY changes nothing of it."""
    await fireworks.ready()
    urls = await fireworks.urls()
    for url in urls.values():
        await fireworks.put(url, b"something else")
    for path, data in FILES.items():
        async with fireworks.uploads.client.get(f"/v1/models/tiny/files/{path}") as response:
            assert await response.read() == data
    assert await fireworks.validate() == {}


async def test_every_step_can_be_repeated(fireworks: Fireworks) -> None:
    """From the top, at any point: what is there is answered, and nothing begins twice."""
    for round_ in range(2):
        again = await fireworks.create()
        assert again["status"]["code"] == ("ALREADY_EXISTS" if round_ else "OK")
        await fireworks.put_all()
    for _ in range(2):
        await fireworks.validate(status=400)
        await fireworks.create()
        await fireworks.put_all()
    await fireworks.extract()
    for _ in range(2):
        await fireworks.validate(status=400)
        await fireworks.create()
        await fireworks.put_all()
    assert len(await fireworks.uploads.emitted(UploadOpened)) == len(FILES)
    assert len(await fireworks.uploads.emitted(UploadCompleted)) == 1
    [asked] = await fireworks.uploads.emitted(ModelValidationRequested)
    await fireworks.uploads.validate(asked.model_id)
    assert (await fireworks.create())["status"]["code"] == "ALREADY_EXISTS"
    await fireworks.put_all()
    assert await fireworks.validate() == {}
    assert (await fireworks.uploads.call("GET", "models"))["has_more"] is False


async def test_racing_calls_begin_once(fireworks: Fireworks) -> None:
    await asyncio.gather(*(fireworks.create() for _ in range(5)))
    await fireworks.put_all()
    await asyncio.gather(*(fireworks.validate(status=400) for _ in range(5)))
    assert len(await fireworks.uploads.emitted(UploadOpened)) == len(FILES)
    assert len(await fireworks.uploads.emitted(UploadCompleted)) == 1


async def test_validate_waits_for_the_verdict(fireworks: Fireworks) -> None:
    """So that who polls every half a minute does not wait for that long."""
    await fireworks.create()
    await fireworks.put_all()
    waiting = asyncio.create_task(fireworks.validate(wait_s=60))
    await eventually(fireworks.begun)
    await fireworks.extract()
    [asked] = await fireworks.uploads.emitted(ModelValidationRequested)
    await fireworks.uploads.validate(asked.model_id)
    assert await waiting == {}


async def test_signed_urls_name_the_store_as_clients_reach_it(fireworks: Fireworks) -> None:
    """And are signed for that host: another one would be refused."""
    shared = fireworks.uploads.dependencies
    await fireworks.create()
    inside = (await fireworks.urls())["config.json"]
    public = f"http://localhost:{URL(inside).port}"
    config = msgspec.structs.replace(shared.config, s3_public_url=public, public_url="https://slipway.example.com")
    outside = dataclasses.replace(shared, config=config)
    async with serving(outside, token="any", authenticate=any_key) as client:
        reached = Fireworks(Uploads(client, outside))
        url = (await reached.urls())["config.json"]
        assert url.startswith(f"{public}/")
        await reached.put(url, FILES["config.json"])
        await reached.put(url.replace("localhost", "127.0.0.1"), FILES["config.json"], 403)
        url = (await reached.urls(enableResumableUpload=True))["config.json"]
        assert url.startswith("https://slipway.example.com/v1/signed/uploads/")


async def test_the_account_is_the_project_by_slug_or_id(fireworks: Fireworks) -> None:
    await fireworks.create()
    for account, status in (("test", 200), (PROJECT, 200), ("other", 404)):
        answer = await fireworks.uploads.call("GET", f"accounts/{account}/models/tiny", status)
        if status == 200:
            assert answer["name"] == f"accounts/{account}/models/tiny"
        else:
            assert answer["error"]["status"] == "NOT_FOUND"
