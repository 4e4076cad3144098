"""S3's protocol against two servers that know nothing of each other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import server
from libs.remote import (
    Endpoints,
    Location,
    S3Credentials,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceUnavailable,
    Store,
    open_store,
)
from libs.remote.location import parse
from tests.support.sources import FOLDER, Source, source_at
from tests.support.stack import Stack
from tests.support.stores import nanio

FILES = {"config.json": b"{}", "sub folder/ü+%&.txt": b"hello", "model.bin": random.Random(1).randbytes(3_000_000)}


@pytest.fixture(params=["embedded", "nanio"])
async def source(request: pytest.FixtureRequest, stack: Stack, namespace: str, tmp_path: Path) -> AsyncIterator[Source]:
    """A bucket of each server."""
    bucket = f"{namespace}-source"
    if request.param == "embedded":
        async with source_at(stack.bucket_url(bucket)) as source:
            yield source
        stack.remove_bucket(bucket)
        return
    other = nanio(tmp_path / "nanio")
    process = await server.start(other)
    async with source_at(f"{other.url}{bucket}") as source:
        yield source
    await process.stop(within_s=5)


def location(source: Source, text: str | None = None) -> Location:
    return parse(text or source.source, source.endpoint)


async def listed(source: Source, credentials: S3Credentials | None, text: str | None = None) -> dict[str, int]:
    """What is below the folder."""
    endpoints = Endpoints.parse(source.endpoint)
    async with open_store(endpoints, location(source, text), "name", credentials) as store:
        return {found.key: found.size_bytes async for found in store.objects()}


async def test_what_is_listed_is_read_by_ranges_in_its_version(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.remote.s3.PAGE", 2)  # three files, two pages
    await source.put(FILES)
    await source.put({"other.txt": b"x"}, folder=f"{FOLDER}-not")
    async with open_store(Endpoints.parse(source.endpoint), location(source), "name", source.credentials) as store:
        found = {each.key: each async for each in store.objects()}
        assert {key: each.size_bytes for key, each in found.items()} == {
            f"{FOLDER}/{path}": len(content) for path, content in FILES.items()
        }
        for path, content in FILES.items():
            each = found[f"{FOLDER}/{path}"]
            assert await store.read(each.key, each.etag, 0, each.size_bytes) == content
            assert await store.read(each.key, each.etag, 1, 1) == content[1:2]
        await _refused(store, source, found[f"{FOLDER}/config.json"].etag)


async def _refused(store: Store, source: Source, etag: str) -> None:
    key = f"{FOLDER}/config.json"
    with pytest.raises((SourceMissing, SourceChanged)):
        await store.read(f"{FOLDER}/nothing", etag, 0, 1)
    with pytest.raises(SourceChanged):
        await store.read(key, "0" * 32, 0, 1)
    await source.put({"config.json": b"[]"})
    with pytest.raises(SourceChanged):
        await store.read(key, etag, 0, 1)


async def test_refusals_name_the_secret_and_show_nothing_of_it(source: Source) -> None:
    wrong = S3Credentials(access_key_id=source.credentials.access_key_id, secret_access_key="WRONG" * 8)
    unknown = S3Credentials(access_key_id="UNKNOWN" * 3, secret_access_key="WRONG" * 8)
    for credentials in (wrong, unknown):
        with pytest.raises(SourceDenied, match="the secret 'name'") as denied:
            await listed(source, credentials)
        assert "WRONG" not in str(denied.value)
        assert "UNKNOWN" not in str(denied.value)
    with pytest.raises(SourceMissing, match="no-such-bucket"):
        await listed(source, source.credentials, "s3://no-such-bucket/x")


async def test_a_server_that_is_not_there(source: Source) -> None:
    nowhere = "http://127.0.0.1:1"
    place = parse(source.source, nowhere)
    async with open_store(Endpoints.parse(nowhere), place, "name", source.credentials) as store:
        with pytest.raises(SourceUnavailable, match="does not answer"):
            await anext(store.objects())
