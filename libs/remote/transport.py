"""Sends requests to stores that are not ours, and maps their refusals to errors.

Only GET; only to hosts and addresses that `Endpoints` allows; no redirect is followed, no proxy and no cookie used. No
message and no log line holds a URL with its query (it is signed), nor what the store wrote into a body beyond its code.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn
from xml.etree import ElementTree

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from libs.remote.endpoints import Endpoints
from libs.remote.errors import (
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)

log = logging.getLogger(__name__)

CONNECT_S = 10.0
PAUSES_S = (0.2, 1.0)  # between attempts at a listing
STALL_S = 30.0  # without a byte, until a request is given up
READ_BYTES = 256 * 1024
ERROR_BYTES = 64 * 1024
PAGE_BYTES = 16 * 1024 * 1024  # of a listing; a page of 1,000 names of 1,024 bytes, escaped, has less
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
# Credentials that are not, or no longer, good, in answers with 400 (S3) or 409 (Azure)
_DENIED_CODES = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "PublicAccessNotPermitted"}
)


class Answered(SourceRefused):
    """The store has answered, and not what was asked for; `explained` says what that means."""

    def __init__(self, status: int, code: str, region: str | None) -> None:
        """`code`: of the store; `region`: where it says that the bucket is."""
        self.status = status
        self.store_code = code
        self.region = region
        super().__init__(f"It answered {status} {code}".strip() + ".")


class Transport:
    """Connections to the stores that are allowed."""

    def __init__(self, session: aiohttp.ClientSession, endpoints: Endpoints) -> None:
        self._session = session
        self._endpoints = endpoints

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoints: Endpoints) -> AsyncIterator[Transport]:
        """Open a transport; connections are made when they are needed."""
        # No cache of names: what is connected to is what was just checked.
        connector = aiohttp.TCPConnector(limit=0, resolver=_CheckedResolver(endpoints), use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S),
            headers={"Accept-Encoding": "identity", "User-Agent": "slipway"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
        ) as session:
            yield cls(session, endpoints)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request, and give the answer with its body still to be read.

        Raises: Answered for any status but 2xx; SourceUnavailable, also for what breaks while the body is read;
        EndpointNotAllowed.
        """
        self._endpoints.require(url)
        host = URL(url, encoded=True).host
        try:
            async with self._session.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    answered = Answered(
                        response.status, await _code(response), response.headers.get("x-amz-bucket-region")
                    )
                    response.close()
                    raise answered
                try:
                    yield response
                finally:
                    if not response.content.at_eof():
                        response.close()
        except TimeoutError:
            raise SourceUnavailable(f"The source does not answer: {host} was silent for too long.") from None
        except aiohttp.ClientConnectorDNSError:
            raise SourceUnavailable(f"The source does not answer: there is no address for {host}.") from None
        except (aiohttp.ClientError, OSError) as trouble:  # its text may hold the URL
            raise SourceUnavailable(f"The source does not answer: {host} ({type(trouble).__name__}).") from None

    async def page(self, url: str, headers: Mapping[str, str] | None = None) -> ElementTree.Element:
        """Send a request for a listing, some times where that may help.

        Raises: as `get`; SourceRefused for what is no XML, or too long.
        """
        for pause_s in PAUSES_S:
            try:
                return await self._page(url, headers)
            except SourceUnavailable as trouble:
                log.info("import: %s Trying again.", trouble)
            except Answered as answered:
                if answered.status not in _PASSING:
                    raise
            await asyncio.sleep(pause_s)
        return await self._page(url, headers)

    async def _page(self, url: str, headers: Mapping[str, str] | None) -> ElementTree.Element:
        async with self.get(url, headers) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(READ_BYTES):
                body += chunk
                if len(body) > PAGE_BYTES:
                    raise SourceRefused("The source's listing is too long to be one.")
        return parsed(bytes(body))


class _CheckedResolver(aiohttp.ThreadedResolver):
    """Resolves names, and refuses addresses that are not allowed."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__()
        self._endpoints = endpoints

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for each in found:
            address = ipaddress.ip_address(each["host"].partition("%")[0])
            self._endpoints.require_address(host.lower(), port, address)
        return found


def parsed(body: bytes) -> ElementTree.Element:
    """The root of a store's XML. Raises: SourceRefused."""
    try:
        if b"<!" in body:  # no store declares entities; who does, wants them expanded
            raise SourceRefused("The source's listing declares a document type.")
        return ElementTree.fromstring(body)  # noqa: S314  # has no entities
    except ElementTree.ParseError:
        raise SourceRefused("The source's listing is no XML: is that the address of an object store?") from None


def explain(answered: Answered, *, where: str, what: str, secret: str | None) -> NoReturn:
    """Raise what an answer means. `what` was asked for in `where`, with the secret of that name."""
    said = f"{answered.status} {answered.store_code}".strip()
    status, code = answered.status, answered.store_code
    if status in _PASSING:
        raise SourceUnavailable(f"The source does not answer: {said} for {what} of {where}.") from None
    if status in (401, 403) or code in _DENIED_CODES:
        by = (
            f"with the secret '{secret}'. Replace it by one that may"
            if secret
            else "without a secret. Name one that may"
        )
        raise SourceDenied(
            f"The source refused {what} of {where} ({said}) {by} list and read there.", param="secret"
        ) from None
    if status == 404:
        raise SourceMissing(f"The source has no such thing: {what} of {where} ({said}).", param="source") from None
    if status in (412, 416):
        raise SourceChanged(f"{what} of {where} has changed in the source.") from None
    if 300 <= status < 400 or answered.region:
        hint = f"it is in the region {answered.region}" if answered.region else "redirects are not followed"
        raise SourceRefused(
            f"The source answers {said} for {what} of {where}: {hint}. Give the right 'region' or 'endpoint'.",
            param="region" if answered.region else "endpoint",
        ) from None
    raise SourceRefused(f"The source answers {said} for {what} of {where}.", param="source") from None


async def _code(response: aiohttp.ClientResponse) -> str:
    """The store's own word for the refusal; empty if it gives none."""
    code = response.headers.get("x-ms-error-code", "")
    if not code:
        try:
            code = parsed(await response.content.read(ERROR_BYTES)).findtext("{*}Code") or ""
        except (SourceRefused, aiohttp.ClientError, OSError, TimeoutError):
            code = ""
    return code if _CODE.fullmatch(code) else ""
