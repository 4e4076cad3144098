"""Routes that show uploads."""

from __future__ import annotations

from functools import partial

from libs.db import connection, transaction
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import responses, schemas
from services.gateway.uploads.store import chunks, files, parts, sources, streams, transfers, uploads


async def list_uploads(request: Request[Dependencies]) -> schemas.SessionList:
    """The project's uploads, newest first."""
    query: schemas.ListUploads = request.query
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        page = await uploads.page(
            tx,
            request.principal.project_id,
            status=query.status,
            model_name=query.model_name,
            after=query.after,
            limit=query.limit + 1,
        )
        shown = page[: query.limit]
        sequences = await streams.of_uploads(tx, [upload.id for upload in shown])
        counts = await files.counts(tx, [upload.id for upload in shown])
        origins = await sources.of_uploads(tx, [upload.id for upload in shown if upload.kind == "import"])
    data = [
        responses.show_upload(
            request,
            upload,
            sequences[upload.id],
            counts=counts.get(upload.id, (0, 0)),
            source=origins.get(upload.id),
        )
        for upload in shown
    ]
    return schemas.SessionList(data=data, has_more=len(page) > query.limit)


async def get_upload(request: Request[Dependencies]) -> schemas.Session:
    """One upload in full: what a client needs to go on, from any machine. Raises: UploadNotFound."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        upload = await uploads.get(tx, request.principal.project_id, request.params["upload_id"])
        sequences = await streams.of_upload(tx, upload.id)
        respond = partial(responses.show_upload, request, upload, sequences)
        if upload.kind == "archive":
            return respond(parts=await parts.of_stream(tx, sequences[0].id))
        sent = responses.Sent(
            streams={stream.number: stream for stream in sequences},
            parts=await parts.numbers_by_stream(tx, upload.id),
            transfers={transfer.number: transfer for transfer in await transfers.of_upload(tx, upload.id)},
            chunks=await chunks.numbers_by_file(tx, upload.id),
        )
        manifest = await files.of_upload(tx, upload.id)
        described = responses.file_states(request, upload, manifest, sent)
        counts = await files.counts(tx, [upload.id])
        origins = await sources.of_uploads(tx, [upload.id] if upload.kind == "import" else [])
        return respond(counts=counts.get(upload.id, (0, 0)), files=described, source=origins.get(upload.id))
