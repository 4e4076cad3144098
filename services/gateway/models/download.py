"""Sends objects to clients: streamed from storage, whole or one range (RFC 9110, section 14).

Each takes a slot of its project's share while it is sent; a client that does not read loses it (TooSlow).
"""

from __future__ import annotations

import re
from contextlib import aclosing

from aiohttp import web

from libs.contracts import StoredFile
from libs.web import Pace, Request
from services.gateway.dependencies import Dependencies
from services.gateway.presentation import content_type

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def requested_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """(offset, length) of a single byte range; None for the whole, also where the header is of another form.

    Raises: web.HTTPRequestRangeNotSatisfiable.
    """
    match = _RANGE.match(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        length = min(int(last), size_bytes)
        start = size_bytes - length
    else:
        start = int(first)
        length = min(int(last) if last else size_bytes, size_bytes - 1) - start + 1
    if length <= 0 or start >= size_bytes:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size_bytes}"})
    return start, length


async def send_object(request: Request[Dependencies], file: StoredFile) -> web.StreamResponse:
    """Stream the object of `file`; its ETag is the sha256.

    Raises: Overloaded; ObjectNotFound; Unavailable, before the first byte; TooSlow for a client that does not read.
    """
    http = request.http
    etag = f'"{file.sha256}"'
    if http.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    if_range = http.headers.get("If-Range", etag)
    wanted = requested_range(http.headers.get("Range"), file.size_bytes) if if_range == etag else None
    start, length = wanted or (0, file.size_bytes)
    response = web.StreamResponse(status=206 if wanted else 200)
    response.content_length = length
    response.content_type = content_type(file.path)
    response.headers.update({"ETag": etag, "Accept-Ranges": "bytes"})
    if wanted:
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size_bytes}"
    await _send_body(request, response, file.key, start, length)
    return response


async def _send_body(
    request: Request[Dependencies], response: web.StreamResponse, key: str, start: int, length: int
) -> None:
    dependencies = request.dependencies
    dependencies.reads.note(key)
    pace = Pace(request.limits)
    async with (
        dependencies.downloads.take(request.principal),
        aclosing(dependencies.blobs.get(key, start, length)) as body,
    ):
        first = await anext(body, b"")
        await response.prepare(request.http)
        await pace.kept(response.write(first))
        async for chunk in body:
            await pace.kept(response.write(chunk))
            pace.passed(len(chunk))
        await pace.kept(response.write_eof())
