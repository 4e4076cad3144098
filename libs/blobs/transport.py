"""Signs and sends one request to the object store, and maps its failures to errors."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from libs.blobs import listing
from libs.blobs.address import Address
from libs.blobs.budget import Budget
from libs.blobs.outgoing import Buffer, exactly, slices
from libs.blobs.pipe import Pipe
from libs.blobs.pools import READ_BYTES, Pool, Pools, Sizes
from libs.errors import Overloaded, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

# Checked when a request arrives, not when its body ends; signed once there is a connection for it. The rest is for
# clocks that differ.
SIGNED_FOR_S = 3600
ATTEMPTS = 5
PARTS_AHEAD_BYTES = 64 * 1024 * 1024  # of parts that all writers together are sending, beyond the first one of each
BACKOFF_S = 0.1  # tripled each time: about four seconds in all, the restart of a server
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
# By name too: the bucket is made again, and an error may come in the body of a 200.
_PASSING_CODES = frozenset({"InternalError", "NoSuchBucket", "RequestTimeout", "ServiceUnavailable", "SlowDown"})


class Refused(Unavailable):
    """The object store refused a request."""

    def __init__(self, method: str, key: str | None, status: int, code: str) -> None:
        """`code`: the one of S3; "" if the answer has no body."""
        self.method = method
        self.status = status
        self.s3_code = code
        super().__init__(f"Object storage answered {status} {code} to {method} {key or 'of the bucket'}".rstrip() + ".")

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a little later."""
        if self.method == "PUT" and self.s3_code == "NoSuchKey":
            return True  # some servers remove a folder with its last object, perhaps at this moment
        return self.status in _PASSING or self.s3_code in _PASSING_CODES


@dataclass(frozen=True)
class Answer:
    """An answer, with its whole body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def may_pass(trouble: Unavailable) -> bool:
    """Whether to repeat a request. Not after waiting for a free connection, which took long already."""
    return trouble.passing if isinstance(trouble, Refused) else not isinstance(trouble, Overloaded)


class Transport:
    """Sends requests for one bucket.

    Every trouble is an Unavailable: `Refused` where the server answered. No message holds a URL, since it is signed.
    Times out by stalling (no byte accepted or received for `stall_s`), never by the length of a transfer.
    """

    def __init__(self, address: Address, pools: Pools, *, stall_s: float) -> None:
        self.address = address
        self.pools = pools
        self.parts_ahead = Budget(PARTS_AHEAD_BYTES)
        self._stall_s = stall_s
        self._bucket_seen = False

    @classmethod
    @asynccontextmanager
    async def to(cls, address: Address, sizes: Sizes, *, stall_s: float) -> AsyncIterator[Transport]:
        """Open a transport with connections of its own."""
        async with Pools.open(sizes, stall_s=stall_s) as pools:
            yield cls(address, pools, stall_s=stall_s)

    def of_bucket(self, bucket: str) -> Transport:
        """The same for another bucket of this server, which has to be there; its connections are these."""
        other = Transport(replace(self.address, bucket=bucket), self.pools, stall_s=self._stall_s)
        other._bucket_seen = True
        return other

    async def call(
        self, method: str, key: str | None, query: Mapping[str, str] | None = None, body: Buffer = b""
    ) -> Answer:
        """Send a request that may be repeated, and repeat it after failures that may pass.

        Raises: Unavailable (Refused where the server answered).
        """

        async def attempt() -> Answer:
            if not self._bucket_seen:
                await self.find_bucket()
            return await self.once(method, key, query or {}, body)

        return await self.repeatedly(attempt)

    async def call_signed(self, method: str, key: str, url: str) -> Answer:
        """Send a request that was signed before (`Address.sign`), and repeat it as `call` does, as long as it is valid.

        Raises: Unavailable (Refused where the server answered, with 403 once the signature has expired).
        """

        async def attempt() -> Answer:
            async with self.open(method, key, url=url) as response:
                return Answer(response.status, response.headers, await response.read())

        return await self.repeatedly(attempt)

    async def once(self, method: str, key: str | None, query: Mapping[str, str], body: Buffer = b"") -> Answer:
        """Send a request once, and read the whole answer.

        Raises: Unavailable (Refused where the server answered).
        """
        if len(body) > READ_BYTES:
            return await self.stream(method, key, query, _pieces(body), len(body), once=False)
        async with self.open(method, key, query=query, body=body if len(body) > 0 else None) as response:
            return Answer(response.status, response.headers, await response.read())

    async def repeatedly(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` until it succeeds, for some seconds; not where it waited for a connection of its own accord.

        Raises: the last Unavailable.
        """
        for attempt in range(ATTEMPTS):
            try:
                return await work()
            except Unavailable as trouble:
                if attempt + 1 == ATTEMPTS or not may_pass(trouble):
                    raise
                log.info("object storage: %s Trying again.", trouble)
                await asyncio.sleep(BACKOFF_S * 3**attempt * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load
        raise AssertionError("unreachable: the last attempt returns or raises")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        key: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        signed: Mapping[str, str] | None = None,
        body: Buffer | Pipe | None = None,
        pool: Pool | None = None,
        once: bool = False,
        url: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request once, and give the answer with its body still to be read.

        `signed`: headers that the signature has to cover, of a request for an object that has no body.
        `pool`: whose connection it takes, that of small calls if None; `once`: it cannot be repeated; `url`: where it
        was signed before.
        Raises: Overloaded; Unavailable (Refused for any status but 2xx), also for what breaks while the body is read.
        """
        async with (pool or self.pools.calls).connection(new=once) as session:
            if url is not None:
                address = url
            elif signed is None or key is None:
                address = self.address.sign(method, key, query or {}, SIGNED_FOR_S)
            else:
                address, headers = self.address.sign_headers(method, key, query or {}, signed)
            async with self._sent(session, method, key, URL(address, encoded=True), headers, body) as response:
                yield response

    @asynccontextmanager
    async def _sent(
        self,
        session: aiohttp.ClientSession,
        method: str,
        key: str | None,
        url: URL,
        headers: Mapping[str, str] | None,
        body: Buffer | Pipe | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
                if response.status >= 300:
                    refusal = await _refusal(method, key, response)
                    response.close()  # the request's body may still be on its way
                    if refusal.s3_code == "NoSuchBucket":
                        self._bucket_seen = False
                    raise refusal
                try:
                    yield response
                finally:
                    if not response.content.at_eof():
                        response.close()  # whatever nobody reads is not worth receiving
        except TimeoutError:  # neither its text nor its cause's: they may hold the URL
            raise Unavailable(f"Object storage stopped answering {method} {key or 'of the bucket'}.") from None
        except (aiohttp.ClientError, OSError) as trouble:
            reason = type(trouble).__name__  # its text may hold the URL
            raise Unavailable(f"Object storage broke off {method} {key or 'of the bucket'} ({reason}).") from None

    async def find_bucket(self) -> None:
        """See that the bucket is there; create it if it is not.

        Raises: Unavailable.
        """
        try:
            await self.once("HEAD", None, {})
        except Refused as refused:
            if refused.status == 404:
                await self._create_bucket()
            elif refused.status == 403:
                await self._check_credentials()
            else:
                raise
        self._bucket_seen = True

    async def _check_credentials(self) -> None:
        """A key may be allowed objects and not their bucket, which is fine; the answer to HEAD does not say why.

        Raises: Refused if the key, its signature or the clock is wrong.
        """
        try:
            await self.once("GET", None, {"list-type": "2", "max-keys": "1", "prefix": "-/"})
        except Refused as refused:
            if refused.s3_code != "AccessDenied":
                raise

    async def _create_bucket(self) -> None:
        try:
            await self.once("PUT", None, {}, listing.location(self.address.region))
        except Refused as refused:
            if refused.status != 409:  # another process was faster
                raise
        else:
            log.info("created bucket %s", self.address.bucket)

    async def stream(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        body: AsyncIterable[Buffer],
        size_bytes: int,
        *,
        once: bool = True,
    ) -> Answer:
        """Send one request once with a body of exactly `size_bytes`, as it comes; `once=False` if it can be repeated.

        The body is read in the caller's task, so that its errors and the caller's cancellation take their usual way;
        either breaks the request off before its last byte. On return nothing reads `body` any more.
        Raises: Unavailable; Invalid if the body is shorter or longer; whatever the body raises.
        """
        if not self._bucket_seen:
            await self.find_bucket()
        pipe = Pipe(size_bytes, stall_s=self._stall_s)
        request = asyncio.create_task(self._send(method, key, query, pipe, once))
        pipe.sent_by(request)
        try:
            async with aclosing(exactly(body, size_bytes)) as checked:
                async for chunk in checked:
                    await pipe.push(chunk)
            # Twice: the last chunks are to be accepted, then the answer is to come.
            await asyncio.wait((request,), timeout=2 * self._stall_s)
            if not request.done():
                raise Unavailable(f"Object storage did not answer {method} {key}.")
            return request.result()
        finally:
            request.cancel()
            await asyncio.wait((request,))
            if not request.cancelled():
                request.exception()  # told already, or less telling than the error on its way

    async def _send(self, method: str, key: str | None, query: Mapping[str, str], pipe: Pipe, once: bool) -> Answer:
        try:
            async with self.open(method, key, query=query, body=pipe, pool=self.pools.uploads, once=once) as response:
                return Answer(response.status, response.headers, await response.read())
        except BaseException:
            pipe.abort()
            raise


async def _pieces(body: Buffer) -> AsyncIterator[Buffer]:
    for view in slices(body):
        yield view


async def _refusal(method: str, key: str | None, response: aiohttp.ClientResponse) -> Refused:
    body = await response.content.read(READ_BYTES)
    refused = Refused(method, key, response.status, listing.error_code(body))
    if response.status in (301, 307, 400, 401, 403):
        log.error("%s Check the S3 URL's credentials, region and bucket, and this machine's clock.", refused)
    return refused
