"""An HTTP proxy before the real gateway: it records requests, passes them on, and fails as networks and servers do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

PARTS = re.compile(r"/(parts|files/)")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})
_CHUNK_BYTES = 64 * 1024

Answer = Callable[[web.Request], web.StreamResponse]
Document = dict[str, Any]


@dataclass
class Fault:
    """What happens to the next `times` requests that match `pattern`, once `after` of them have passed."""

    pattern: str
    answer: Answer
    times: int
    after: int


class GatewayProxy:
    """The gateway as a client meets it by way of this proxy.

    A `pattern` is a regular expression, searched in "METHOD path?query" of a request.
    """

    def __init__(self, upstream: str, http: aiohttp.ClientSession) -> None:
        self.address = ""  # http://HOST:PORT, in place of the gateway's
        self.requests: list[str] = []  # in the order in which they came
        self.answers: list[str] = []  # the same lines, once they are answered, with the status before them
        self.ranges: list[str] = []  # Content-Range of each upload of a range, e.g. "bytes 0-99/100"
        self.cut_after: list[int] = []  # uploads of ranges break after so many bytes of their body, in this order
        self._upstream = upstream
        self._http = http
        self._faults: list[Fault] = []
        self._lost: list[str] = []
        self._damaged: list[str] = []
        self._request_headers: list[tuple[str, Mapping[str, str | None]]] = []
        self._changes: list[tuple[str, Callable[[Document], Document]]] = []
        self._first: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self._something = asyncio.Condition()

    def fail(self, pattern: str, answer: Answer, *, times: int = 1, after: int = 0) -> None:
        """Give `answer` instead of passing the request on."""
        self._faults.append(Fault(pattern, answer, times, after))

    def recover(self) -> None:
        """No fault happens any more."""
        self._faults.clear()

    def lose_answer(self, pattern: str) -> None:
        """The next request is passed on, and its answer never arrives."""
        self._lost.append(pattern)

    def damage(self, pattern: str) -> None:
        """One bit of the next request's body is another one when it arrives."""
        self._damaged.append(pattern)

    def set_headers(self, pattern: str, **headers: str | None) -> None:
        """Requests arrive with these headers; None: without them. `_` stands for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self._request_headers.append((pattern, given))

    def change(self, pattern: str, change: Callable[[Document], Document]) -> None:
        """Answers (JSON documents, status 200) become what `change` makes of them."""
        self._changes.append((pattern, change))

    def before(self, pattern: str, do: Callable[[], Awaitable[object]]) -> None:
        """Await `do()` once, before the next request is passed on."""
        self._first.append((pattern, do))

    def sent(self, pattern: str) -> list[str]:
        """The requests that match."""
        return [line for line in self.requests if re.search(pattern, line)]

    def answered(self, pattern: str) -> list[str]:
        """The answers that match, as "STATUS METHOD path?query"."""
        return [line for line in self.answers if re.search(pattern, line)]

    async def until(self, holds: Callable[[], bool], within_s: float = 60) -> None:
        """Return as soon as the requests and answers so far satisfy `holds`."""
        async with asyncio.timeout(within_s), self._something:
            await self._something.wait_for(holds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take note of a request, and let happen to it what was ordered."""
        line = f"{request.method} {request.raw_path}"
        await self._note(self.requests, line)
        fault = self._next_fault(line)
        answer = fault.answer(request) if fault else await self._pass_on(request, line)
        await self._note(self.answers, f"{answer.status} {line}")
        if _taken(self._lost, line):
            return hang_up(request)
        return answer

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """A client that asks whether to send its body is told to, unless the answer is a fault."""
        line = f"{request.method} {request.raw_path}"
        if not any(_happens(fault, line) for fault in self._faults):
            _transport(request).write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    async def _note(self, lines: list[str], line: str) -> None:
        async with self._something:
            lines.append(line)
            self._something.notify_all()

    def _next_fault(self, line: str) -> Fault | None:
        for fault in self._faults:
            if not fault.times or not re.search(fault.pattern, line):
                continue
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault
        return None

    async def _pass_on(self, request: web.Request, line: str) -> web.StreamResponse:
        for pattern, do in list(self._first):
            if re.search(pattern, line):
                self._first.remove((pattern, do))
                await do()
        url = URL(f"{self._upstream}{request.raw_path}", encoded=True)
        headers = self._headers(request, line)
        cut_after = None
        if _sends_a_range(request):
            self.ranges.append(request.headers["Content-Range"])
            cut_after = self.cut_after.pop(0) if self.cut_after else None
        body = _body(request, cut_after, damaged=_taken(self._damaged, line)) if request.body_exists else None
        try:
            async with self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                content = await response.read()
        except (_CutError, aiohttp.ClientError):
            return hang_up(request)
        for pattern, change in self._changes:
            if response.status == 200 and re.search(pattern, line):
                content = msgspec.json.encode(change(msgspec.json.decode(content, type=Document)))
        return web.Response(status=response.status, body=content, headers=_end_to_end(response.headers, len(content)))

    def _headers(self, request: web.Request, line: str) -> CIMultiDict[str]:
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP
        )
        for pattern, given in self._request_headers:
            if re.search(pattern, line):
                for name, value in given.items():
                    headers.pop(name, None)
                    if value is not None:
                        headers[name] = value
        return headers


class _CutError(Exception):
    """The connection is to break here."""


async def _body(request: web.Request, cut_after: int | None, *, damaged: bool) -> AsyncIterator[bytes]:
    """The request's body as it comes; after `cut_after` bytes the connection breaks, on both sides."""
    left = cut_after
    async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
        sent = bytes([chunk[0] ^ 1]) + chunk[1:] if damaged else chunk
        damaged = False
        yield sent if left is None else sent[:left]
        if left is not None:
            left -= len(sent)
            if left <= 0:
                raise _CutError


def _sends_a_range(request: web.Request) -> bool:
    return not request.headers.get("Content-Range", "bytes *").startswith("bytes *")


def _happens(fault: Fault, line: str) -> bool:
    return bool(fault.times and not fault.after and re.search(fault.pattern, line))


def _taken(patterns: list[str], line: str) -> bool:
    """Whether one of `patterns` matches; it is taken out."""
    for pattern in patterns:
        if re.search(pattern, line):
            patterns.remove(pattern)
            return True
    return False


def _end_to_end(headers: Mapping[str, str], size_bytes: int) -> CIMultiDict[str]:
    kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)
    kept["Content-Length"] = str(size_bytes)
    return kept


def _transport(request: web.Request) -> asyncio.Transport:
    assert isinstance(request.transport, asyncio.Transport)
    return request.transport


def hang_up(request: web.Request) -> web.StreamResponse:
    """Break the connection without a word."""
    _transport(request).abort()
    return web.Response(status=499)


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """Answer an error in the documented envelope."""
    error = {"message": message, "type": "…", "param": None, "code": code, **more}
    return lambda _: web.json_response({"error": error}, status=status, headers=headers)


def document(body: Document) -> Answer:
    """Answer this document."""
    return lambda _: web.json_response(body)


@asynccontextmanager
async def before_gateway(address: str) -> AsyncIterator[GatewayProxy]:
    """A proxy on a free port of the loopback, before the gateway at `address` (http://HOST:PORT)."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as http:
        proxy = GatewayProxy(address, http)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", proxy.handle, expect_handler=proxy.expect)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.address = f"http://{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
