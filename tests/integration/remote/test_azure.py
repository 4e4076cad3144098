"""Azure's protocol against Azurite, which checks every signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from libs.remote import (
    AzureCredentials,
    Endpoints,
    Location,
    S3Credentials,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    open_store,
)
from libs.remote.azure import API_VERSION
from libs.remote.location import parse
from tests.support.azurite import ACCOUNT, ACCOUNT_KEY, CONTAINER, FOLDER, AzureSource, azurite

pytestmark = pytest.mark.slow

FILES = {"config.json": b"{}", "sub folder/ü+%&?.txt": b"hello", "model.bin": random.Random(1).randbytes(3_000_000)}


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[AzureSource]:
    async with azurite(tmp_path / "azurite") as source:
        yield source


def sas_token(permissions: str, *, minutes: int = 60) -> str:
    """A token for the container (Microsoft: "Create a service SAS", version 2020-12-06 and later)."""
    until = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    resource = f"/blob/{ACCOUNT}/{CONTAINER}"
    fields = [permissions, "", until, resource, "", "", "", API_VERSION, "c", "", "", "", "", "", "", ""]
    digest = hmac.digest(base64.b64decode(ACCOUNT_KEY), "\n".join(fields).encode(), hashlib.sha256)
    query = {"sv": API_VERSION, "sr": "c", "sp": permissions, "se": until, "sig": base64.b64encode(digest).decode()}
    return urlencode(query)


def location(source: AzureSource, text: str | None = None) -> Location:
    return parse(text or source.source, source.endpoint)


async def listed(source: AzureSource, credentials: AzureCredentials | None, text: str | None = None) -> dict[str, int]:
    """What is below the folder."""
    endpoints = Endpoints.parse(source.host)
    async with open_store(endpoints, location(source, text), "secret", credentials) as store:
        return {found.key: found.size_bytes async for found in store.objects()}


async def test_azure(source: AzureSource) -> None:
    """One test, since the emulator takes seconds to start."""
    await source.put(FILES)
    await source.put({"other.txt": b"x"}, folder="elsewhere")
    key, sas = AzureCredentials(account_key=ACCOUNT_KEY), AzureCredentials(sas_token=sas_token("rl"))
    expected = {f"{FOLDER}/{path}": len(content) for path, content in FILES.items()}
    for credentials in (key, sas):
        assert await listed(source, credentials) == expected
        async with open_store(Endpoints.parse(source.host), location(source), "secret", credentials) as store:
            found = {each.key: each async for each in store.objects()}
            for path, content in FILES.items():
                each = found[f"{FOLDER}/{path}"]
                assert await store.read(each.key, each.etag, 0, each.size_bytes) == content
                assert await store.read(each.key, each.etag, 1, 1) == content[1:2]
            each = found[f"{FOLDER}/config.json"]
            with pytest.raises(SourceChanged):
                await store.read(each.key, "0x0", 0, 2)
            with pytest.raises((SourceMissing, SourceChanged)):
                await store.read(f"{FOLDER}/nothing", each.etag, 0, 2)
    await _refusals(source)
    await source.put({"config.json": b"[]"})
    async with open_store(Endpoints.parse(source.host), location(source), "secret", key) as store:
        with pytest.raises(SourceChanged):
            await store.read(f"{FOLDER}/config.json", found[f"{FOLDER}/config.json"].etag, 0, 2)


async def _refusals(source: AzureSource) -> None:
    wrong = base64.b64encode(b"another key").decode()
    for credentials in (
        AzureCredentials(account_key=wrong),
        AzureCredentials(sas_token=sas_token("rl", minutes=-60)),
        AzureCredentials(sas_token=sas_token("r")),
    ):
        with pytest.raises(SourceDenied, match="the secret 'secret'") as denied:
            await listed(source, credentials)
        assert "sig=" not in str(denied.value)
        assert wrong not in str(denied.value)
    with pytest.raises(SourceRefused):
        await listed(source, None)
    with pytest.raises(SourceMissing):
        await listed(
            source, AzureCredentials(account_key=ACCOUNT_KEY), f"https://{ACCOUNT}.blob.core.windows.net/other"
        )
    with pytest.raises(SourceRefused, match="is for S3"):
        async with open_store(
            Endpoints.parse(source.host),
            location(source),
            "secret",
            S3Credentials(access_key_id="a", secret_access_key="b"),
        ):
            pass


async def test_pages_of_a_listing_follow_each_other(source: AzureSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.remote.azure.PAGE", 2)
    await source.put({f"{number}.txt": b"x" for number in range(5)})
    found = await listed(source, AzureCredentials(account_key=ACCOUNT_KEY))
    assert found == {f"{FOLDER}/{number}.txt": 1 for number in range(5)}
