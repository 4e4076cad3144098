"""The body of a request becomes one object, or one part of an object, in storage.

It is streamed: never held in memory, never on disk, read once, and hashed on its way.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from libs.blobs import Blobs
from libs.digest import Digest
from libs.errors import ChecksumMismatch, Invalid, PartConflict, PartSizeMismatch
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.patterns import SHA256

_SHA256 = re.compile(SHA256)


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a request's body has to be."""

    what: str  # for messages: "Part 3", "File 'config.json'"
    size_bytes: int | None  # None: anything up to `max_bytes`
    max_bytes: int
    sha256: str | None = None  # lower-case hex
    checksum_header: str | None = None  # in which the client may declare the SHA-256, where it is not known

    def require_headers(self, request: Request[Dependencies]) -> str | None:
        """Compare the request's headers with what is expected, before any byte of its body is read.

        Returns: the SHA-256 that the body has to have; None if nobody declared one.
        Raises: Invalid, if the declared checksum is not a SHA-256; PartSizeMismatch, if Content-Length is wrong.
        """
        declared = None if self.checksum_header is None else declared_checksum(request, self.checksum_header)
        length = request.http.content_length
        if length is not None and (length > self.max_bytes or self.size_bytes not in (None, length)):
            raise self.wrong_size(length)
        return declared or self.sha256

    def require_same(self, sha256: str, stored_sha256: str) -> None:
        """Raises: PartConflict, if the bytes are not those that are stored."""
        if sha256 != stored_sha256:
            raise PartConflict(
                f"{self.what} is stored already, with other bytes. If those are wrong, abort the upload and start "
                "again.",
                retryable=False,
            )

    def wrong_size(self, size_bytes: int, *, at_least: bool = False) -> PartSizeMismatch:
        """The error for a body of another size."""
        wanted = f"{self.size_bytes}" if self.size_bytes is not None else f"at most {self.max_bytes}"
        sent = f"{'at least ' if at_least else ''}{size_bytes}"
        return PartSizeMismatch(f"{self.what} must have {wanted} bytes, but {sent} were sent.", retryable=False)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that a request brought, and where they are."""

    size_bytes: int
    sha256: str
    crc32: str  # IEEE, 8 lower-case hex digits
    s3_number: int = 0  # of a part of an S3 multipart upload: its number, and S3's entity tag
    etag: str = ""


class Destination(Protocol):
    """Where a body goes."""

    async def put(self, blobs: Blobs, content: AsyncIterator[bytes], size_bytes: int | None) -> tuple[int, str]:
        """Store the content; `size_bytes` is None where the client does not announce it.

        Returns: S3's number and entity tag of a part; (0, "") for anything else.
        """


class NewObject(msgspec.Struct, frozen=True):
    """An object of its own."""

    key: str

    async def put(self, blobs: Blobs, content: AsyncIterator[bytes], size_bytes: int | None) -> tuple[int, str]:
        await blobs.put(self.key, content, size_bytes)
        return 0, ""


class NewPart(msgspec.Struct, frozen=True):
    """A part of an S3 multipart upload; its number is asked for once the request has been admitted."""

    key: str
    multipart_id: str
    size_bytes: int
    next_number: Callable[[], Awaitable[int]]

    async def put(self, blobs: Blobs, content: AsyncIterator[bytes], size_bytes: int | None) -> tuple[int, str]:
        number = await self.next_number()
        return number, await blobs.put_part(self.key, self.multipart_id, number, content, self.size_bytes)


class StoredBefore(msgspec.Struct, frozen=True):
    """Nowhere: bytes of this SHA-256 are stored already, and the body has to be the same."""

    sha256: str

    async def put(self, blobs: Blobs, content: AsyncIterator[bytes], size_bytes: int | None) -> tuple[int, str]:
        async for _ in content:
            pass
        return 0, ""


async def accept(request: Request[Dependencies], expected: Expected, destination: Destination) -> Accepted:
    """Take in the body of a request: admit it, measure it, hash it, and put it where `destination` says.

    After an error, nothing is stored; of Unavailable, that cannot be known.
    Raises: Invalid, for a checksum that is none, and Overloaded, before the body is read; PartSizeMismatch;
    ChecksumMismatch; PartConflict; MultipartGone; Unavailable if storage does not take it; what
    `destination.next_number` raises.
    """
    declared = expected.require_headers(request)
    if isinstance(destination, StoredBefore) and declared is not None:
        expected.require_same(declared, destination.sha256)
    size_bytes = request.http.content_length if expected.size_bytes is None else expected.size_bytes
    digest = Digest(_measured(request, expected))
    async with request.dependencies.incoming.take(request.principal):
        s3_number, etag = await destination.put(
            request.dependencies.blobs, _verified(digest, expected.what, declared), size_bytes
        )
    if isinstance(destination, StoredBefore):
        expected.require_same(digest.sha256, destination.sha256)
    return Accepted(
        size_bytes=digest.size_bytes, sha256=digest.sha256, crc32=digest.crc32, s3_number=s3_number, etag=etag
    )


def declared_checksum(request: Request[Dependencies], header: str) -> str | None:
    """The SHA-256 that the client declares in `header`, in lower case. Raises: Invalid, if it is not one."""
    value = request.http.headers.get(header)
    if value is None:
        return None
    if not _SHA256.match(value):
        raise Invalid(f"{header} is not a SHA-256: 64 hexadecimal digits are expected.", param=header)
    return value.lower()


async def _measured(request: Request[Dependencies], expected: Expected) -> AsyncIterator[bytes]:
    """The body's bytes; ends with PartSizeMismatch where they are too many or too few."""
    total = 0
    most_bytes = expected.max_bytes if expected.size_bytes is None else expected.size_bytes
    content = await request.content()
    async for chunk in content.iter_any():
        total += len(chunk)
        if total > most_bytes:
            raise expected.wrong_size(total, at_least=True)
        yield chunk
    if expected.size_bytes not in (None, total):
        raise expected.wrong_size(total)


async def _verified(digest: Digest, what: str, declared: str | None) -> AsyncIterator[bytes]:
    """The digest's chunks; ends with ChecksumMismatch where they are not what was declared."""
    async for chunk in digest:
        yield chunk
    if declared not in (None, digest.sha256):
        raise ChecksumMismatch(
            f"{what}: the {digest.size_bytes} bytes received have SHA-256 {digest.sha256}, but {declared} was "
            "declared. Send it again."
        )
