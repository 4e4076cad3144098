"""HTTP to Slipway: decodes responses, raises errors with the server's message, repeats requests where that is safe."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import aiohttp
import msgspec
from yarl import URL

from libs.client.errors import ApiError, FieldError, Unreachable, class_of
from libs.contracts import Finding
from libs.errors import SlipwayError

T = TypeVar("T")

_BUSY = frozenset({429, 503})  # the server says that it did nothing
_BROKEN = frozenset({502, 504})  # a proxy says that it does not know
_INCOMPLETE = 308  # an answer like others: how much of a file the server holds
_EXPECT_BYTES = 1 << 20  # a body this large waits for "100 Continue", so that a refusal costs no transfer
_LONGEST_PAUSE_S = 30.0
_CHUNK_BYTES = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=180)


class Body(Protocol):
    """A request body; each iteration starts at its beginning, so that a broken transfer can be repeated."""

    size_bytes: int
    failure: SlipwayError | None  # why reading them failed, if it did

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Sink(Protocol):
    """Where a download goes. `position`: the bytes that are there; `etag`: of the content that they are of."""

    position: int
    etag: str

    async def write(self, chunk: bytes) -> None:
        """Append."""

    async def restart(self) -> None:
        """Forget what is there: the server begins at the first byte."""


class _Refusal(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | None = None
    param: str | None = None
    finding: Finding | None = None
    errors: list[FieldError] = []


class _Envelope(msgspec.Struct, frozen=True):
    error: _Refusal


class Transport:
    """One connection pool to one server, for one key.

    `patience_s`: how long a request is repeated while the server is busy or gone, unless the call says otherwise.
    `on_retry` is called with a sentence before a request is repeated.
    """

    def __init__(self, base_url: str, api_key: str | None, *, patience_s: float = 5.0) -> None:
        """Connects when it is first used. Raises: Unreachable if `base_url` is none."""
        self.base = _with_version(base_url)
        self.patience_s = patience_s
        self.on_retry: Callable[[str], object] = lambda _: None
        self._key = api_key
        self._opened: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections; whatever is under way breaks off. A later call connects anew."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=0), raise_for_status=False
            )
        return self._opened

    async def call(
        self,
        method: str,
        path: str,
        returns: type[T],
        *,
        json: object = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        patience_s: float | None = None,
        repeatable: bool = True,
    ) -> T:
        """Send one request until it is answered, and decode the answer as `returns`.

        `path` is relative to the base URL, or to the host where it starts with "/"; it is percent-encoded already.
        `repeatable=False`: not sent again once the server may have acted on it.
        Raises: ApiError; Unreachable; whatever reading `body` raised.
        """
        url = self._url(path).with_query(dict(query or {}))
        started = time.monotonic()
        return await self._repeated(
            lambda: self._once(method, url, returns, json, body, dict(headers or {})),
            self.patience_s if patience_s is None else patience_s,
            lambda: started,
            repeatable=repeatable,
        )

    async def receive(self, path: str, sink: Sink, *, patience_s: float) -> None:
        """Stream the answer of a GET into `sink`, from its `position` on; after a broken connection, go on from there.

        `patience_s`: how long it is tried again without a byte more.
        Raises: ApiError; Unreachable; whatever `sink` raises.
        """
        url = self._url(path)
        moved_at, moved_to = time.monotonic(), sink.position

        def progressed_at() -> float:
            nonlocal moved_at, moved_to
            if sink.position > moved_to:
                moved_at, moved_to = time.monotonic(), sink.position
            return moved_at

        await self._repeated(lambda: self._stream(url, sink), patience_s, progressed_at)

    async def _repeated(
        self,
        once: Callable[[], Awaitable[T]],
        patience_s: float,
        progressed_at: Callable[[], float],
        *,
        repeatable: bool = True,
    ) -> T:
        """Do `once` until it succeeds, is refused for good, or nothing has progressed for `patience_s` seconds."""
        attempt, seen_at = 0, progressed_at()
        while True:
            attempt += 1
            pause_s = min(0.25 * 2**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
            try:
                return await once()
            except _TryAgainError as again:
                if again.asked_s is not None:
                    pause_s = max(pause_s, min(again.asked_s, _LONGEST_PAUSE_S))
                if progressed_at() > seen_at:
                    attempt, seen_at = 0, progressed_at()
                unsafe = not repeatable and again.may_have_acted
                if unsafe or time.monotonic() + pause_s > seen_at + patience_s:
                    raise again.error from again.__cause__
                self.on_retry(f"{again.error.message} Trying again …")
            await asyncio.sleep(pause_s)

    async def _once(
        self, method: str, url: URL, returns: type[T], json: object, body: Body | None, headers: dict[str, str]
    ) -> T:
        payload: bytes | Body | None = body
        if json is not None:
            payload = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        elif body is not None:
            headers["Content-Type"] = "application/octet-stream"
            headers["Content-Length"] = str(body.size_bytes)
        expect = body is not None and body.size_bytes >= _EXPECT_BYTES
        try:
            async with self._session.request(
                method, url, data=payload, headers=self._signed(headers), expect100=expect, allow_redirects=False
            ) as response:
                return _decode(response, await response.read(), returns)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if body is not None and body.failure is not None:
                raise body.failure from error
            raise _broken(url, error) from error

    async def _stream(self, url: URL, sink: Sink) -> None:
        headers = {"Accept-Encoding": "identity"}
        if sink.position:
            headers |= {"Range": f"bytes={sink.position}-", "If-Range": sink.etag}
        # a large buffer, so that bytes arrive while those before them are hashed and written
        reading = self._session.get(
            url, headers=self._signed(headers), allow_redirects=False, read_bufsize=_CHUNK_BYTES
        )
        try:
            async with reading as response:
                if response.status >= 300:
                    raise _refusal(response, await response.read())
                if sink.position and response.status != 206:
                    await sink.restart()
                while chunk := await _next_chunk(response.content, url):
                    await sink.write(chunk)
        except aiohttp.ClientError as error:
            raise _broken(url, error) from error

    def _signed(self, headers: dict[str, str]) -> dict[str, str]:
        return headers if self._key is None else {**headers, "Authorization": f"Bearer {self._key}"}

    def _url(self, path: str) -> URL:
        text = f"{self.base.origin()}{path}" if path.startswith("/") else f"{self.base}/{path}"
        return URL(text, encoded=True)


class _TryAgainError(Exception):
    """The request may be repeated; `error` is what to raise when it is not."""

    def __init__(self, error: SlipwayError, *, may_have_acted: bool, asked_s: float | None = None) -> None:
        self.error = error
        self.may_have_acted = may_have_acted
        self.asked_s = asked_s
        super().__init__(error.message)


def _decode(response: aiohttp.ClientResponse, raw: bytes, returns: type[T]) -> T:
    status = response.status
    if status < 300 or status == _INCOMPLETE:
        try:
            return msgspec.json.decode(raw or b"{}", type=returns)
        except msgspec.DecodeError as error:
            message = f"{response.url} answered something that is not Slipway's: {error}. Check the base URL."
            raise ApiError(status, message, code="unexpected_answer") from error
    raise _refusal(response, raw)


def _refusal(response: aiohttp.ClientResponse, raw: bytes) -> ApiError | _TryAgainError:
    """What to raise for an answer that is no success."""
    refused = _refused(response, raw)
    status = response.status
    if response.headers.get("x-should-retry") == "false" or not (status in _BUSY or status in _BROKEN):
        return refused
    asked = response.headers.get("Retry-After", "")
    return _TryAgainError(refused, may_have_acted=status in _BROKEN, asked_s=float(asked) if asked.isdigit() else None)


def _broken(url: URL, error: Exception) -> _TryAgainError:
    never_sent = isinstance(error, aiohttp.ClientConnectorError)
    return _TryAgainError(_unreachable(url, error), may_have_acted=not never_sent)


async def _next_chunk(content: aiohttp.StreamReader, url: URL) -> bytes:
    """Up to 1 MiB of a body; b"" at its end."""
    gathered = bytearray()
    try:
        while len(gathered) < _CHUNK_BYTES and (chunk := await content.read(_CHUNK_BYTES - len(gathered))):
            gathered += chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if not gathered:
            raise _broken(url, error) from error
        # what has arrived counts; the next call finds the same error
    return bytes(gathered)


def _refused(response: aiohttp.ClientResponse, raw: bytes) -> ApiError:
    request_id = response.headers.get("x-request-id")
    try:
        error = msgspec.json.decode(raw, type=_Envelope).error
    except msgspec.DecodeError:
        message = f"{response.url} answered {response.status} {response.reason}. Check the base URL."
        return class_of(response.status)(response.status, message, code="unexpected_answer", request_id=request_id)
    return class_of(response.status)(
        response.status,
        error.message or f"The server answered {response.status} {response.reason}.",
        code=error.code or "unknown",
        param=error.param,
        request_id=request_id,
        finding=error.finding,
        errors=error.errors,
    )


def _unreachable(url: URL, error: Exception) -> Unreachable:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        why = os.strerror(number).lower() if number and number > 0 else str(error.os_error)
    elif isinstance(error, TimeoutError):
        why = "it does not answer"
    else:
        why = f"the connection broke ({error})" if str(error) else "the connection broke"
    return Unreachable(f"Cannot reach {url.origin()}: {why}. Is it running, and is that the right base URL?")


def _with_version(base_url: str) -> URL:
    """`base_url` without a trailing slash; a bare host gets "/v1", where the key names the project."""
    url = URL(base_url.rstrip("/"))
    if url.scheme not in ("http", "https") or not url.host:
        raise Unreachable(f"'{base_url}' is no base URL; it looks like http://127.0.0.1:8080/proj_ABC123/v1.")
    return url / "v1" if url.path in ("", "/") else url
