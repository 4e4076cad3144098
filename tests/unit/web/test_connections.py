"""What happens on the wire: refusals that can be read, connections that survive, clients that vanish."""

import asyncio
import io
import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from aiohttp import web

from libs.errors import PartConflict
from libs.web import PUBLIC, Principal, Request, Response, Route, make_app, serve
from tests.unit.web.conftest import MEMBERS, Serving, port_of

pytestmark = pytest.mark.slow  # sends much

LARGE = 100_000_000  # a part of an upload
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
AUTHORIZED = {"Authorization": "Bearer a-token"}


async def refuse(_: Request[None]) -> Response:
    raise PartConflict(retryable=False)


async def refuse_halfway(request: Request[None]) -> Response:
    content = await request.content()
    await content.readany()
    raise PartConflict(retryable=False)


async def count(request: Request[None]) -> Response:
    content = await request.content()
    return Response({"size": sum([len(data) async for data in content.iter_any()])})


def streams(path: str, handler: Any) -> Route[None]:
    return Route("POST", path, handler, summary="Takes bytes.", stream=True, access=MEMBERS)


REFUSE, HALFWAY, COUNT = streams("refuse", refuse), streams("halfway", refuse_halfway), streams("count", count)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "part"
    with path.open("wb") as file:
        file.truncate(LARGE)
    yield path
    path.unlink()


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("refuse", "a-token", 409),
        ("halfway", "a-token", 409),
        ("refuse", "bad", 401),
        ("no", "bad", 404),
    ],
)
async def test_a_client_that_sends_before_it_reads_gets_the_refusal(
    serving: Serving, large_file: Path, path: str, token: str, status: int
) -> None:
    """`requests` sends all 100 MB first; the answer must not be lost to a reset, and the connection lives on."""
    client = await serving(REFUSE, HALFWAY, COUNT)
    url = f"http://127.0.0.1:{port_of(client)}/v1"

    def post() -> tuple[int, str | None, Any]:
        with requests.Session() as session:
            with large_file.open("rb") as body:
                refused = session.post(f"{url}/{path}", data=body, headers={"Authorization": f"Bearer {token}"})
            after = session.post(f"{url}/count", data=b"abc", headers=AUTHORIZED)
            assert after.json() == {"size": 3}
            return refused.status_code, refused.headers.get("Connection"), refused.json()["error"]["code"]

    assert (await asyncio.to_thread(post))[:2] == (status, None)


@needs_curl
@pytest.mark.parametrize(("path", "token"), [("refuse", "a-token"), ("count", "bad"), ("no", "bad")])
async def test_curl_is_refused_before_it_sends(serving: Serving, large_file: Path, path: str, token: str) -> None:
    """curl holds a large body back until `100 Continue`: a refusal costs no upload."""
    client = await serving(REFUSE, COUNT)
    status, sent, answer = await curl(client, large_file, path, token)
    assert (status, sent) == ({"refuse": 409, "count": 401, "no": 404}[path], 0)
    assert answer["error"]["message"]


@needs_curl
async def test_curl_is_told_to_continue_where_the_body_is_wanted(serving: Serving, large_file: Path) -> None:
    client = await serving(COUNT)
    assert await curl(client, large_file, "count", "a-token") == (200, LARGE, {"size": LARGE})


async def curl(client: aiohttp.ClientSession, body: Path, path: str, token: str) -> tuple[int, int, Any]:
    """Status, bytes sent, answer."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--max-time", "60", "--expect100-timeout", "30"),
        *("--header", f"Authorization: Bearer {token}", "--header", "Expect: 100-continue"),
        *("--data-binary", f"@{body}", "--write-out", "\n%{http_code} %{size_upload}"),
        f"http://127.0.0.1:{port_of(client)}/v1/{path}",
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    answer, _, numbers = out.decode().rpartition("\n")
    status, sent = numbers.split()
    return int(status), int(sent), json.loads(answer)


async def test_a_connection_that_still_holds_its_body_back_is_closed(serving: Serving) -> None:
    """The next bytes on it could be that body or another request; nobody could tell."""
    client = await serving(REFUSE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
    writer.write(
        b"POST /v1/refuse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\n"
        b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 409")
    assert b"Connection: close" in head
    writer.close()
    await writer.wait_closed()


async def test_ordinary_errors_leave_the_connection_open(serving: Serving) -> None:
    client = await serving(REFUSE, COUNT)
    for path, status in (("/v1/refuse", 409), ("/v1/nowhere", 404), ("/v2", 404), ("/v1/count", 200)):
        async with client.post(path, data=io.BytesIO(b"x" * 1000)) as answer:
            assert answer.status == status
            assert "Connection" not in answer.headers
    assert client.connector is not None
    assert len(client.connector._conns) == 1
    assert sum(len(idle) for idle in client.connector._conns.values()) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
async def test_even_what_is_no_request_is_answered_in_the_envelope(serving: Serving, raw: bytes) -> None:
    client = await serving(COUNT)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
    writer.write(raw)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"404")
    assert b"x-request-id" in head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    writer.close()
    await writer.wait_closed()


async def test_a_body_with_broken_framing_is_the_clients_error(serving: Serving) -> None:
    client = await serving(COUNT)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client))
    writer.write(
        b"POST /v1/count HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nnot a size\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    writer.close()
    await writer.wait_closed()


async def test_a_vanished_client_cancels_its_handler_and_is_no_error(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait_for_ever(_: Request[None]) -> Response:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response()

    client = await serving(Route("GET", "wait", wait_for_ever, summary="Waits.", access=MEMBERS))
    asking = asyncio.create_task(client.get("/v1/wait"))
    await started.wait()
    asking.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
    [record] = [record for record in caplog.records if record.name == "access"]
    assert vars(record)["status"] == 499
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_error_after_the_first_byte_breaks_the_answer_off(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """A short but well-formed answer would look like success; in the log it is the failure that it was."""
    caplog.set_level(logging.INFO)

    async def begin_and_fail(request: Request[None]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request.http)
        await response.write(b"half of")
        raise PartConflict

    client = await serving(Route("GET", "x", begin_and_fail, summary="Fails late.", access=MEMBERS))
    async with client.get("/v1/x") as answer:
        assert answer.headers["x-request-id"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    [record] = [record for record in caplog.records if record.name == "access"]
    assert vars(record)["status"] == 409


async def test_a_body_is_kept_as_it_came(serving: Serving) -> None:
    """`Content-Encoding: gzip` on a .tar.gz, as some clients send it, must not unpack it."""
    client = await serving(COUNT)
    async with client.post("/v1/count", data=b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip"}) as answer:
        assert await answer.json() == {"size": 12}


async def test_closing_lets_requests_finish_and_accepts_no_more() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Request[None]) -> Response:
        asked.set()
        await go_on.wait()
        return Response({"finished": True})

    async def nobody(_: str) -> Principal:
        raise AssertionError("no route here asks")

    app = make_app(
        [Route("GET", "x", slow, summary="Slow.", access=PUBLIC)], authenticate=nobody, dependencies=None, title="Test"
    )
    serving = serve(app, "127.0.0.1", 0, drain_s=5)
    port = await serving.__aenter__()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        asking = asyncio.create_task(client.get("/v1/x"))
        await asked.wait()
        closing = asyncio.create_task(serving.__aexit__(None, None, None))
        await asyncio.sleep(0)  # closing begins
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get("/v1/x")
        go_on.set()
        assert await (await asking).json() == {"finished": True}
        await asyncio.wait_for(closing, 2)


async def test_a_handler_that_outlasts_the_drain_is_cancelled_once_it_is_over() -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Request[None]) -> Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response(None)

    async def nobody(_: str) -> Principal:
        raise AssertionError("no route here asks")

    route = Route("GET", "x", stubborn, summary="Never ends.", access=PUBLIC)
    serving = serve(
        make_app([route], authenticate=nobody, dependencies=None, title="Test"), "127.0.0.1", 0, drain_s=0.05
    )
    port = await serving.__aenter__()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        asking = asyncio.create_task(client.get("/v1/x"))
        await asked.wait()
        await serving.__aexit__(None, None, None)
        with pytest.raises(aiohttp.ClientConnectionError):
            await asking
    assert cancelled.is_set()
