"""Clients that stall or trickle are ended, in both directions; those that are kept waiting by us are not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec
import pytest

from libs.errors import Overloaded, TooSlow
from libs.web import BodyLimits, Pace, Request, Response, Route, middleware
from libs.web.body import Body
from tests.support.eventually import eventually
from tests.unit.web.conftest import MEMBERS, Serving, port_of

IMPATIENT = BodyLimits(idle_s=0.05, min_rate_bytes_per_s=1)
HURRIED = BodyLimits(idle_s=60, min_rate_bytes_per_s=1024**4, window_s=1e-9)
AT_MOST_S = 20.0  # far below what lingering and the real idle limit take, far above what a busy machine needs


class Anything(msgspec.Struct):
    """A body of JSON."""

    name: str = ""


async def count(request: Request[None]) -> Response:
    content = await request.content()
    return Response({"size": sum([len(data) async for data in content.iter_any()])})


async def decoded(request: Request[None]) -> Response:
    return Response({"name": request.body.name})


async def overloaded(_: Request[None]) -> Response:
    raise Overloaded


async def huge(_: Request[None]) -> Response:
    return Response({"much": "x" * 64_000_000})


COUNT = Route("POST", "count", count, summary="Takes bytes.", stream=True, access=MEMBERS)
DECODED = Route("POST", "decoded", decoded, summary="Takes JSON.", body=Anything, access=MEMBERS)
OVERLOADED = Route("POST", "overloaded", overloaded, summary="Has no slot.", stream=True, access=MEMBERS)
HUGE = Route("GET", "huge", huge, summary="Answers much.", access=MEMBERS)


class Raw:
    """A client that sends what it is told to, and nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls, client: aiohttp.ClientSession) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(client), limit=1024)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def ask(self, request: str, *headers: str, body: bytes = b"") -> None:
        lines = [f"{request} HTTP/1.1", "Host: x", "Authorization: Bearer a-token", *headers, "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)

    async def received(self) -> int:
        """How many bytes came before the connection ended."""
        size = 0
        with suppress(ConnectionError):
            while data := await self._reader.read(1_000_000):
                size += len(data)
        return size

    async def answer(self) -> tuple[int, str, Any]:
        """Status, head and body of an answer after which the server closes the connection."""
        async with asyncio.timeout(AT_MOST_S):
            head, _, body = (await self._reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), json.loads(body)


async def test_every_empty_body_of_a_process_ends_at_once() -> None:
    """aiohttp has one reader for all of them, which says only once that there is no more."""
    for _ in range(2):
        assert await Body(aiohttp.EMPTY_PAYLOAD, HURRIED).readany() == b""


@pytest.mark.parametrize("path", ["count", "decoded"])
async def test_a_body_that_stalls_is_ended_and_its_connection_closed(serving: Serving, path: str) -> None:
    """Said so by 408; not kept for as long again to read the rest away."""
    async with Raw.connected(await serving(COUNT, DECODED, limits=IMPATIENT)) as raw:
        raw.ask(f"POST /v1/{path}", "Content-Length: 100", body=b'{"na')
        status, head, body = await raw.answer()
        assert (status, body["error"]["code"]) == (408, "body_too_slow")
        assert "Connection: close" in head


async def test_a_body_that_trickles_is_ended(serving: Serving) -> None:
    """A rate that nobody reaches stands for a client that is below the real one, though never idle."""
    async with Raw.connected(await serving(COUNT, limits=HURRIED)) as raw:
        raw.ask("POST /v1/count", "Content-Length: 100", body=b"x")
        assert (await raw.answer())[0] == 408


async def test_a_client_that_is_kept_waiting_is_not_slow(serving: Serving) -> None:
    """What has arrived already was sent in time, however late it is read."""
    go_on = asyncio.Event()

    async def late(request: Request[None]) -> Response:
        await go_on.wait()
        return await count(request)

    client = await serving(
        Route("POST", "late", late, summary="Reads late.", stream=True, access=MEMBERS), limits=IMPATIENT
    )
    asking = asyncio.create_task(client.post("/v1/late", data=b"x" * 1000))
    await asyncio.sleep(2 * IMPATIENT.idle_s)  # time itself is what this is about
    go_on.set()
    assert await (await asking).json() == {"size": 1000}


async def test_an_answer_that_is_not_taken_is_ended(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """A client that asks for much and reads nothing costs its memory for a while, not for ever."""
    caplog.set_level(logging.INFO)
    client = await serving(HUGE, limits=BodyLimits(idle_s=0.05, min_rate_bytes_per_s=1024**4))
    async with Raw.connected(client) as raw:
        raw.ask("GET /v1/huge")

        async def ended() -> bool:
            return "is not taken" in caplog.text

        await eventually(ended)
        assert await raw.received() < 64_000_000


async def test_a_refused_client_that_stalls_is_not_lingered_on(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading away what it sends is for clients that send."""
    monkeypatch.setattr(middleware, "LINGER_IDLE_S", 0.05)
    async with Raw.connected(await serving(OVERLOADED)) as raw:
        raw.ask("POST /v1/overloaded", "Content-Length: 100000", body=b"x" * 1000)
        status, head, _ = await raw.answer()
        assert status == 503
        assert "Retry-After: 2" in head


async def test_a_refusal_before_the_body_costs_the_client_no_upload(serving: Serving) -> None:
    """`Expect: 100-continue`: the 503 comes instead of the word to go on."""
    async with Raw.connected(await serving(OVERLOADED)) as raw:
        raw.ask("POST /v1/overloaded", "Content-Length: 100000", "Expect: 100-continue")
        status, head, body = await raw.answer()
        assert (status, body["error"]["code"]) == (503, "overloaded")
        assert "Retry-After: 2" in head
        assert "Connection: close" in head


def test_a_slow_but_steady_body_is_fine() -> None:
    """16 KiB/s in pieces of any size; a window later, too."""
    pace = Pace(BodyLimits())
    for _ in range(200):
        pace.passed(17 * 1024, waited_s=1.0)
    for _ in range(10):
        pace.passed(30 * 17 * 1024, waited_s=30.0)


def test_a_fast_start_does_not_pay_for_a_trickle() -> None:
    """Each window counts for itself."""
    pace = Pace(BodyLimits())
    pace.passed(1024**3, waited_s=60.0)
    for _ in range(59):
        pace.passed(1, waited_s=1.0)
    with pytest.raises(TooSlow, match="bytes of the body moved"):
        pace.passed(1, waited_s=1.0)
