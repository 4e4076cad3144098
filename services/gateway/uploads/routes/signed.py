"""Files that are sent by a signed URL of this gateway: the same stream as with a key, by another door."""

from __future__ import annotations

import re
from dataclasses import replace

from libs.archives.paths import check_path
from libs.db import connection
from libs.errors import Invalid
from libs.web import Principal, Request, Response
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import responses, schemas
from services.gateway.uploads.receiving import parse_content_range
from services.gateway.uploads.routes.files import receive_file
from services.gateway.uploads.signatures import SignatureRefused, require_signed
from services.gateway.uploads.states import COMPLETED, PROCESSING
from services.gateway.uploads.store import files, uploads
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.uploads import Upload

_LENGTHS = "x-goog-content-length-range"
_LENGTH_RANGE = re.compile(r"^\s*(\d{1,18})\s*,\s*(\d{1,18})\s*$")


async def receive_signed_file(request: Request[Dependencies]) -> schemas.FileReceived | Response:
    """As `receive_file`, for whoever has the URL; the range of `x-goog-content-length-range` has to have the size.

    For an upload that is complete already, the body is received and forgotten: whoever begins anew after a break goes
    on to validateUpload.
    Raises: SignatureRefused; as `receive_file`.
    """
    upload = await _upload(request)
    path = check_path(request.params["path"])
    request = replace(request, principal=Principal(project_id=upload.project_id), query=schemas.FileQuery())
    async with connection(request.dependencies.pool) as tx:
        file = await files.by_path(tx, upload.id, path)
    _require_length(request, file)
    if upload.status in (PROCESSING, COMPLETED):
        return await _forget(request, upload, path, file)
    return await receive_file(request)


async def begin_signed_file(request: Request[Dependencies]) -> Response:
    """How clients of Google's store begin: `x-goog-resumable: start` is answered with where to PUT, which is here.

    Raises: SignatureRefused; Invalid.
    """
    upload = await _upload(request)
    if request.http.headers.get("x-goog-resumable", "").lower() != "start":
        raise Invalid("POST here only begins a stream: with the header 'x-goog-resumable: start'. PUT the file itself.")
    url = (request.dependencies.config.public_url or request.origin()).rstrip("/") + request.http.rel_url.raw_path_qs
    return Response({"upload_id": upload.id}, status=201, headers={"Location": url})


async def _upload(request: Request[Dependencies]) -> Upload:
    query: schemas.SignedQuery = request.query
    async with connection(request.dependencies.pool) as tx:
        found = await uploads.with_secret(tx, request.params["upload_id"])
    if found is None:
        raise SignatureRefused(retryable=False)
    upload, secret = found
    require_signed(secret, upload.id, request.params["path"], query.expires, query.signature)
    return upload


def _require_length(request: Request[Dependencies], file: UploadFile | None) -> None:
    header = request.http.headers.get(_LENGTHS)
    if header is None:
        return
    match = _LENGTH_RANGE.match(header)
    if match is None:
        raise Invalid(f"{_LENGTHS} is not of the form 'least,most', in bytes.", param=_LENGTHS)
    span = request.http.headers.get("Content-Range")
    size = parse_content_range(span).total if span else request.http.content_length
    size = file.size_bytes if size is None and file is not None else size
    if size is not None and not int(match[1]) <= size <= int(match[2]):
        raise Invalid(f"{_LENGTHS} allows {match[1]} to {match[2]} bytes, but the file has {size}.", param=_LENGTHS)


async def _forget(
    request: Request[Dependencies], upload: Upload, path: str, file: UploadFile | None
) -> schemas.FileReceived:
    size = 0
    async with request.dependencies.incoming.take(request.principal):
        async for chunk in await request.content():
            size += len(chunk)
    async with connection(request.dependencies.pool) as tx:
        arrived, expected = (await files.counts(tx, [upload.id])).get(upload.id, (0, 0))
    if file is None:  # its row has been removed
        return schemas.FileReceived(
            relative_path=path,
            size=size,
            checksum=None,
            uploaded_file_count=arrived,
            expected_file_count=expected,
            progress=100.0,
        )
    return responses.file_received(file, file.sha256, (arrived, expected), None)
