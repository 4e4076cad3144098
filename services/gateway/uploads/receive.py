"""Bytes of a request, streamed to storage and hashed on the way: never held, never on disk, read once."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

import msgspec
from isal import isal_zlib

from libs.digest import Digest
from libs.errors import ChecksumMismatch, Conflict, Invalid, PartConflict, PartSizeMismatch
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.patterns import SHA256

_SHA256 = re.compile(SHA256)


class Received(msgspec.Struct, frozen=True):
    """What arrived."""

    size_bytes: int
    sha256: str
    crc32: str  # 8 hexadecimal digits


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a request's body has to be."""

    what: str  # for messages: "Part 3", "File 'config.json'"
    size_bytes: int | None  # None: anything up to `max_bytes`
    max_bytes: int
    sha256: str | None


def new_attempt() -> str:
    """Distinguishes the object of one attempt from those of others for the same part or file."""
    return secrets.token_hex(4)


def declared_checksum(request: Request[Dependencies], header: str) -> str | None:
    """The sha256 that the client declares, lower case. Raises: Invalid, if it is not one."""
    value = request.http.headers.get(header)
    if value is None:
        return None
    if not _SHA256.match(value):
        raise Invalid(f"{header} is not a SHA-256: 64 hexadecimal digits are expected.", param=header)
    return value.lower()


def check_length(request: Request[Dependencies], expected: Expected) -> None:
    """Refuse by Content-Length, before any byte is read. Raises: PartSizeMismatch."""
    length = request.http.content_length
    if length is None:
        return
    if expected.size_bytes is not None and length != expected.size_bytes:
        raise _wrong_size(expected, length)
    if length > expected.max_bytes:
        raise _wrong_size(expected, length)


async def store(request: Request[Dependencies], key: str, expected: Expected) -> Received:
    """Stream the body to the object `key`; after an error, no object is there (of Unavailable, one cannot know).

    Raises: PartSizeMismatch; ChecksumMismatch; Unavailable if storage does not take it.
    """
    dependencies = request.dependencies
    size = request.http.content_length if expected.size_bytes is None else expected.size_bytes
    body = Bounded(request, expected)
    digest = Digest(body)
    async with dependencies.incoming.take(request.principal.project_id):
        await dependencies.blobs.put(key, verifying(digest, expected), size)
    return Received(digest.size_bytes, digest.sha256, body.crc32)


async def compare(request: Request[Dependencies], expected: Expected, stored_sha256: str) -> Received:
    """Read the body of something that is stored already: the same bytes are fine, others are not.

    Raises: PartConflict; ChecksumMismatch; PartSizeMismatch.
    """
    if expected.sha256 is not None and expected.sha256 != stored_sha256:
        raise _conflict(expected)
    body = Bounded(request, expected)
    digest = Digest(body)
    dependencies = request.dependencies
    async with dependencies.incoming.take(request.principal.project_id):
        async for _ in verifying(digest, expected):
            pass
    require_same(expected, digest.sha256, stored_sha256)
    return Received(digest.size_bytes, digest.sha256, body.crc32)


def require_same(expected: Expected, sha256: str, stored_sha256: str) -> None:
    """Raises: PartConflict, if the bytes are not those that are stored."""
    if sha256 != stored_sha256:
        raise _conflict(expected)


class Bounded:
    """The body's bytes, ended with PartSizeMismatch where they are too many or too few. Iterate once."""

    def __init__(self, request: Request[Dependencies], expected: Expected) -> None:
        self._request = request
        self._expected = expected
        self._crc32 = 0

    @property
    def crc32(self) -> str:
        """Of what has passed (IEEE)."""
        return f"{self._crc32:08x}"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises: PartSizeMismatch."""
        total, expected = 0, self._expected
        content = await self._request.content()
        async for chunk in content.iter_any():
            total += len(chunk)
            if total > (expected.max_bytes if expected.size_bytes is None else expected.size_bytes):
                raise _wrong_size(expected, total, at_least=True)
            self._crc32 = isal_zlib.crc32(chunk, self._crc32)
            yield chunk
        if expected.size_bytes is not None and total != expected.size_bytes:
            raise _wrong_size(expected, total)


async def verifying(digest: Digest, expected: Expected) -> AsyncIterator[bytes]:
    """The digest's chunks, ended with ChecksumMismatch where they are not what was declared."""
    async for chunk in digest:
        yield chunk
    if expected.sha256 is not None and digest.sha256 != expected.sha256:
        raise ChecksumMismatch(
            f"{expected.what}: the {digest.size_bytes} bytes received have SHA-256 {digest.sha256}, but "
            f"{expected.sha256} was declared. Send it again."
        )


def _wrong_size(expected: Expected, size_bytes: int, *, at_least: bool = False) -> PartSizeMismatch:
    wanted = f"{expected.size_bytes}" if expected.size_bytes is not None else f"at most {expected.max_bytes}"
    got = f"{'at least ' if at_least else ''}{size_bytes}"
    return PartSizeMismatch(f"{expected.what} must have {wanted} bytes, but {got} were sent.", retryable=False)


def _conflict(expected: Expected) -> Conflict:
    return PartConflict(
        f"{expected.what} is stored already, with other bytes. If those are wrong, abort the upload and start again.",
        retryable=False,
    )
