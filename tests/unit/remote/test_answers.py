"""What a store may answer that is no store, or means no good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.remote import (
    Endpoints,
    S3Credentials,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)
from libs.remote.location import parse
from libs.remote.s3 import S3Store
from libs.remote.transport import Answered, Transport

SECRET = S3Credentials(access_key_id="AKIAID", secret_access_key="THE-VALUE", session_token="THE-TOKEN")
ERROR = "<Error><Code>{}</Code><Message>THE-VALUE</Message></Error>"


@asynccontextmanager
async def answering(response: web.Response) -> AsyncIterator[tuple[S3Store, list[str]]]:
    """A store whose every answer is this one, and the paths that were asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        headers = {name: text for name, text in response.headers.items() if not name.startswith("Content-")}
        if "Content-Range" in response.headers:
            headers["Content-Range"] = response.headers["Content-Range"]
        return web.Response(status=response.status, body=response.body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        async with Transport.open(Endpoints.parse(endpoint)) as transport:
            yield S3Store(transport, parse("s3://bucket/folder", endpoint), "name", SECRET), asked


@pytest.mark.parametrize(
    ("response", "error", "says"),
    [
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), SourceRefused, "not followed"),
        (web.Response(status=301, headers={"x-amz-bucket-region": "eu-1"}), SourceRefused, "region eu-1"),
        (web.Response(text="<html>hello"), SourceRefused, "no XML"),
        (web.Response(text='<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), SourceRefused, "document type"),
        (web.Response(text="x" * 1_100), SourceRefused, "too long"),
        (web.Response(status=403, text=ERROR.format("AccessDenied")), SourceDenied, "403 AccessDenied"),
        (web.Response(status=400, text=ERROR.format("ExpiredToken")), SourceDenied, "400 ExpiredToken"),
        (web.Response(status=404, text=ERROR.format("NoSuchBucket")), SourceMissing, "NoSuchBucket"),
        (web.Response(status=500, text=ERROR.format("x\nTHE-VALUE")), SourceUnavailable, "500"),
        (web.Response(status=503), SourceUnavailable, "503"),
        (web.Response(status=418), SourceRefused, "418"),
    ],
    ids=lambda each: None if isinstance(each, web.Response) else str(each),
)
async def test_each_answer_has_its_meaning_and_shows_no_secret(
    response: web.Response, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.remote.transport.PAGE_BYTES", 1_000)
    monkeypatch.setattr("libs.remote.transport.PAUSES_S", (0, 0))
    async with answering(response) as (store, asked):
        with pytest.raises(error, match=says) as raised:
            await anext(store.objects())
    assert "THE-" not in str(raised.value)
    assert "Signature" not in str(raised.value)
    assert asked == ["/bucket"] * (3 if error is SourceUnavailable else 1)  # and nowhere else


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (web.Response(body=b"12345", headers={"ETag": '"other"'}), SourceChanged),
        (web.Response(body=b"12345", headers={"ETag": '"e"'}), SourceRefused),  # ranges are not answered
        (
            web.Response(status=206, body=b"123", headers={"ETag": '"e"', "Content-Range": "bytes 0-4/9"}),
            SourceRefused,
        ),
        (web.Response(status=412), SourceChanged),
        (web.Response(status=416), SourceChanged),
    ],
)
async def test_a_range_is_taken_only_of_the_version_that_was_listed(
    response: web.Response, error: type[Exception]
) -> None:
    async with answering(response) as (store, _):
        with pytest.raises(error):
            await store.read("folder/a", "e", 0, 5)


async def test_a_bucket_of_amazons_in_another_region_is_read_there() -> None:
    asked: list[str] = []

    class Elsewhere(Transport):
        async def page(self, url: str, headers: Mapping[str, str] | None = None) -> ElementTree.Element:
            asked.append(url.partition("?")[0])
            if ".eu-west-1." not in url:
                raise Answered(301, "PermanentRedirect", "eu-west-1")
            return ElementTree.fromstring("<ListBucketResult/>")

    async with Elsewhere.open(Endpoints.parse("*.amazonaws.com")) as transport:
        store = S3Store(transport, parse("s3://models/a"), "name", SECRET)
        assert [each async for each in store.objects()] == []
    assert asked == ["https://models.s3.us-east-1.amazonaws.com/", "https://models.s3.eu-west-1.amazonaws.com/"]
    assert (store.location.region, store.location.endpoint) == ("eu-west-1", "https://s3.eu-west-1.amazonaws.com")


async def test_a_session_token_is_part_of_the_signature_and_without_credentials_nothing_is_signed() -> None:
    async with Transport.open(Endpoints.parse("*.amazonaws.com")) as transport:
        signed = S3Store(transport, parse("s3://models/a"), "name", SECRET)._url("a/b c", {})
        assert "X-Amz-Security-Token=THE-TOKEN" in signed
        assert "X-Amz-Signature=" in signed
        assert "THE-VALUE" not in signed
        plain = S3Store(transport, parse("s3://models/a"), None, None)._url("a/b c", {})
    assert plain == "https://models.s3.us-east-1.amazonaws.com/a/b%20c"
