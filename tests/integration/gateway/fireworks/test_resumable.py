"""Signed URLs of the gateway: the stream that directories have, by another door, without a key."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from yarl import URL

from libs.contracts import ModelRegistered, UploadOpened
from services.gateway.uploads.signatures import signed_urls
from services.gateway.uploads.store import uploads as upload_rows
from tests.integration.gateway.fireworks.calls import Fireworks
from tests.integration.gateway.harness import FILES, Uploads

LARGE = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 1024}


async def test_whole_files_and_streams_make_a_model(fireworks: Fireworks) -> None:
    """What comes this way is hashed on its way: the extractor has nothing to do."""
    await fireworks.create(files=LARGE)
    urls = await fireworks.urls(LARGE, enableResumableUpload=True)
    await fireworks.put(urls["config.json"], LARGE["config.json"])
    content, url = LARGE["model.safetensors"], urls["model.safetensors"]
    size = len(content)
    asked = await fireworks.put(url, b"", 308, Content_Range=f"bytes */{size}")
    assert asked["range"] is None
    half = await fireworks.put(url, content[:1000], 308, Content_Range=f"bytes 0-999/{size}")
    assert half["range"] == "bytes=0-999"
    wrong = await fireworks.put(url, content[2000:], 308, Content_Range=f"bytes 2000-{size - 1}/{size}")
    assert wrong["range"] == "bytes=0-999"
    error = await fireworks.validate(status=400)
    assert error["status"] == "FAILED_PRECONDITION"
    assert f"model.safetensors (1000 of {size} bytes)" in error["message"]
    done = await fireworks.put(url, content[1000:], Content_Range=f"bytes 1000-{size - 1}/{size}")
    assert done["relative_path"] == "model.safetensors"
    again = await fireworks.put(url, b"", Content_Range=f"bytes */{size}")
    assert again["size"] == size
    assert "is being checked" in (await fireworks.validate(status=400))["message"]
    assert await fireworks.uploads.emitted(UploadOpened) == []
    [registered] = await fireworks.uploads.emitted(ModelRegistered)
    assert {file.path: file.size_bytes for file in registered.files} == {p: len(d) for p, d in LARGE.items()}


async def test_any_replica_takes_the_same_url(fireworks: Fireworks, replica: Uploads) -> None:
    await fireworks.create()
    url = URL((await fireworks.urls(enableResumableUpload=True))["config.json"], encoded=True)
    async with replica.client.put(url.raw_path_qs, data=FILES["config.json"]) as response:
        assert response.status == 200


async def test_one_upload_may_have_both_kinds_of_files(fireworks: Fireworks) -> None:
    await fireworks.create()
    await fireworks.put((await fireworks.urls(enableResumableUpload=True))["config.json"], FILES["config.json"])
    await fireworks.put((await fireworks.urls())["model.safetensors"], FILES["model.safetensors"])
    error = await fireworks.validate(status=400)
    assert error["details"][0]["checking"] == ["model.safetensors"]
    await fireworks.extract()
    assert "is being checked" in (await fireworks.validate(status=400))["message"]


async def test_only_what_was_signed_is_taken(fireworks: Fireworks) -> None:
    """Another file, another upload, another time, no signature, or one that has run out: 403, with what to do."""
    await fireworks.create()
    url = (await fireworks.urls(enableResumableUpload=True))["config.json"]
    query = parse_qs(urlsplit(url).query)
    [expires], [signature] = query["expires"], query["signature"]
    [row] = (await fireworks.uploads.call("GET", "uploads"))["data"]
    async with fireworks.uploads.pool.acquire() as tx:
        found = await upload_rows.with_secret(tx, row["session_id"])
    assert found is not None
    upload, secret = found
    assert secret is not None
    base = url.partition("/v1/")[0]
    past = signed_urls(base, upload.id, secret, ["config.json"], expires_s=-1)["config.json"]
    for wrong in (
        url.replace("config.json", "model.safetensors"),
        url.replace(row["session_id"], "00000000-0000-4000-8000-000000000000"),
        url.replace(expires, str(int(time.time()) + 10**6)),
        url.replace(signature, "0" * 64),
        url.replace(signature, "%C3%BC"),
        past,
    ):
        answer = await fireworks.put(wrong, FILES["config.json"], 403)
        assert answer["error"]["code"] == "signature_refused"
        assert "Ask getUploadEndpoint" in answer["error"]["message"]
    await fireworks.put(url.partition("?")[0], FILES["config.json"], 400)
    await fireworks.put(url, FILES["config.json"])


async def test_uploads_without_a_secret_have_no_signed_urls(fireworks: Fireworks) -> None:
    session = await fireworks.uploads.open_directory(FILES)
    base = str(fireworks.uploads.client.make_url("")).rstrip("/")
    url = signed_urls(base, session["session_id"], b"", ["config.json"], expires_s=60)["config.json"]
    await fireworks.put(url, FILES["config.json"], 403)


@pytest.mark.parametrize(
    ("header", "status"), [("2,2", 200), ("0,100", 200), ("3,3", 400), ("0,1", 400), ("2", 400), ("x,y", 400)]
)
async def test_the_documented_length_range_is_honoured(fireworks: Fireworks, header: str, status: int) -> None:
    await fireworks.create()
    url = (await fireworks.urls(enableResumableUpload=True))["config.json"]
    await fireworks.put(url, FILES["config.json"], status, x_goog_content_length_range=header)


async def test_a_client_of_googles_store_is_told_where_to_put(fireworks: Fireworks) -> None:
    await fireworks.create()
    url = (await fireworks.urls(enableResumableUpload=True))["config.json"]
    client = fireworks.uploads.client
    path = URL(url, encoded=True).raw_path_qs
    async with client.post(path, headers={"x-goog-resumable": "start"}) as response:
        assert response.status == 201
        assert response.headers["Location"] == url
    async with client.post(path) as response:
        assert response.status == 400


async def test_names_are_signed_as_they_are(fireworks: Fireworks) -> None:
    await fireworks.create()
    path = "1_Pooling/ü 100%+?.json"
    url = (await fireworks.urls({path: b"{}"}, enableResumableUpload=True))[path]
    assert quote(path) in url
    await fireworks.put(url, b"{}")


async def test_what_comes_after_the_model_is_ready_is_forgotten(fireworks: Fireworks) -> None:
    """An uploader that begins anew gets through, whichever way its files go."""
    await fireworks.ready()
    before = await fireworks.uploads.stored()
    urls = await fireworks.urls(enableResumableUpload=True)
    for path, data in FILES.items():
        await fireworks.put(urls[path], b"other bytes")
        await fireworks.put(urls[path], b"", Content_Range=f"bytes */{len(data)}")
    assert await fireworks.uploads.stored() == before
    assert await fireworks.validate() == {}


async def test_another_size_of_a_file_that_has_arrived_in_part_begins_it_anew(fireworks: Fireworks) -> None:
    await fireworks.create(files=LARGE)
    url = (await fireworks.urls(LARGE, enableResumableUpload=True))["model.safetensors"]
    size = len(LARGE["model.safetensors"])
    await fireworks.put(url, LARGE["model.safetensors"][:1000], 308, Content_Range=f"bytes 0-999/{size}")
    await fireworks.urls({"model.safetensors": b"short"}, enableResumableUpload=True)
    asked = await fireworks.put(url, b"", 308, Content_Range="bytes */5")
    assert asked["range"] is None
    await fireworks.put(url, b"short")
    assert "is being checked" not in (await fireworks.validate(status=400))["message"]


async def test_a_file_that_has_arrived_keeps_its_size(fireworks: Fireworks) -> None:
    await fireworks.create()
    url = (await fireworks.urls(enableResumableUpload=True))["config.json"]
    await fireworks.put(url, FILES["config.json"])
    answer = await fireworks.call("POST", "/tiny:getUploadEndpoint", 400, json={"filenameToSize": {"config.json": 3}})
    assert answer["error"]["status"] == "FAILED_PRECONDITION"
    assert "config.json arrived already" in answer["error"]["message"]
