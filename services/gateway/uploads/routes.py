"""Routes of upload sessions (seed: model-upload). Sessions are opened in `opening`, bytes taken in `incoming`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from libs.db import connection, transaction
from libs.outbox import emit
from libs.tasks import unless_set
from libs.web import Request, Response, Route
from services.gateway.dependencies import Dependencies
from services.gateway.models.store import files as model_files
from services.gateway.projects.access import MODELS
from services.gateway.uploads import describe, schemas, session
from services.gateway.uploads.incoming.files import receive_file
from services.gateway.uploads.incoming.finishing import finish_files
from services.gateway.uploads.incoming.parts import receive_part
from services.gateway.uploads.opening import create_archive, create_directory
from services.gateway.uploads.states import LIVE
from services.gateway.uploads.store import chunks, files, sessions, streams, transfers
from services.gateway.uploads.urls import base_path, base_url

POLL_S = 5.0  # how often to look without having been signalled


async def list_uploads(request: Request[Dependencies]) -> schemas.SessionList:
    """The project's sessions, newest first."""
    query: schemas.ListUploads = request.query
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        page = await sessions.page(
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
    data = [
        describe.session(upload, base_url(request), sequences[upload.id], counts=counts.get(upload.id, (0, 0)))
        for upload in shown
    ]
    return schemas.SessionList(data=data, has_more=len(page) > query.limit)


async def get_upload(request: Request[Dependencies]) -> schemas.Session:
    """One session in full: what a client needs to go on, from any machine. Raises: UploadNotFound."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        upload = await sessions.get(tx, request.principal.project_id, request.params["upload_id"])
        sequences = await streams.of_upload(tx, upload.id)
        describe_session = partial(describe.session, upload, base_url(request), sequences)
        if upload.kind == "archive":
            return describe_session(parts=await streams.parts(tx, sequences[0].id))
        sent = describe.Sent(
            streams={stream.number: stream for stream in sequences},
            parts=await streams.numbers_by_stream(tx, upload.id),
            transfers={transfer.number: transfer for transfer in await transfers.of_upload(tx, upload.id)},
            chunks=await chunks.numbers_by_file(tx, upload.id),
        )
        states = describe.file_states(base_path(request), upload, await files.of_upload(tx, upload.id), sent)
        counts = await files.counts(tx, [upload.id])
        return describe_session(counts=counts.get(upload.id, (0, 0)), files=states)


async def abort_upload(request: Request[Dependencies]) -> schemas.Aborted:
    """Give a session up; again is fine. Raises: UploadNotFound; why it ended, if it ended otherwise."""
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        mine = await sessions.get(tx, request.principal.project_id, request.params["upload_id"])
        upload = await sessions.lock(tx, mine.id)
        if upload.status in ("completed", "failed", "expired"):
            raise sessions.why_closed(upload)
        await emit(tx, await session.abort(tx, upload, at=datetime.now(UTC)))
    return schemas.Aborted(session_id=upload.id)


async def complete_upload(request: Request[Dependencies]) -> schemas.Completed | Response:
    """Complete a session, and wait (`Prefer: wait=N`) until it is registered; else 202 and where to look.

    Repeating it answers the same. Raises: PartsMissing; ArchiveRejected, FilesMissing with the reason of a failure.
    """
    dependencies = request.dependencies
    project_id, upload_id = request.principal.project_id, request.params["upload_id"]
    wait_s = request.prefer_wait_s()
    limit_s = (
        dependencies.config.complete_wait_s if wait_s is None else min(wait_s, dependencies.config.complete_wait_max_s)
    )
    with dependencies.signals.subscribe(session.CHANNEL, upload_id) as changed:
        await _complete(dependencies, project_id, upload_id)
        clock = asyncio.get_running_loop().time
        until = clock() + limit_s
        while True:
            answer = await _completed(dependencies, project_id, upload_id)
            left_s = until - clock()
            if answer is not None:
                return answer
            if left_s <= 0 or dependencies.stop.is_set():
                break
            await unless_set(dependencies.stop, changed.wait(min(left_s, POLL_S)))
    return await _processing(request, project_id, upload_id)


async def _complete(dependencies: Dependencies, project_id: str, upload_id: str) -> None:
    now = datetime.now(UTC)
    async with transaction(dependencies.pool) as tx:
        mine = await sessions.get(tx, project_id, upload_id)
        if mine.status == "open":
            # Committed by itself: what has vanished must be asked for even though completing is refused below.
            await files.unmark_vanished(tx, mine.id, project_id, session.VANISHED)
    if mine.status == "open" and mine.kind == "directory":
        await finish_files(dependencies, mine)
    async with transaction(dependencies.pool) as tx:
        upload = await sessions.lock(tx, mine.id)
        if upload.status == "open":
            await emit(tx, await session.complete(tx, upload, at=now))


async def _completed(dependencies: Dependencies, project_id: str, upload_id: str) -> schemas.Completed | None:
    """The final answer; None while the session is being processed. Raises: why it ended otherwise."""
    async with connection(dependencies.pool) as tx:
        upload = await sessions.get(tx, project_id, upload_id)
        if upload.status == "completed":
            return describe.completed(
                upload, await streams.of_upload(tx, upload.id), await model_files.of_model(tx, upload.model_id)
            )
        if upload.status == "open":  # a file turned out wrong, and is to be sent again
            await session.require_everything(tx, upload)
    if upload.status not in LIVE:
        raise sessions.why_closed(upload)
    return None


async def _processing(request: Request[Dependencies], project_id: str, upload_id: str) -> Response:
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        upload = await sessions.get(tx, project_id, upload_id)
        waiting_for = describe.waiting_for(await streams.of_upload(tx, upload.id))
    body = schemas.Processing(
        session_id=upload.id,
        model_id=upload.model_id,
        model_name=upload.model_name,
        version=upload.model_version,
        waiting_for=waiting_for,
    )
    return Response(
        body, status=202, headers={"Location": f"{base_url(request)}/uploads/{upload.id}", "Retry-After": "2"}
    )


_models = partial(Route, access=MODELS)
_part = partial(_models, query=schemas.PartQuery, returns=schemas.PartStored, stream=True)

ROUTES = [
    _models(
        "POST",
        "uploads/archive",
        create_archive,
        summary="Open a session for an archive that is sent in parts",
        body=schemas.CreateArchive,
        returns=schemas.ArchiveCreated,
    ),
    _models(
        "POST",
        "uploads/directory",
        create_directory,
        summary="Open a session for a directory that is sent file by file",
        body=schemas.CreateDirectory,
        returns=schemas.DirectoryCreated,
    ),
    _models(
        "GET",
        "uploads",
        list_uploads,
        summary="List upload sessions",
        query=schemas.ListUploads,
        returns=schemas.SessionList,
    ),
    _models(
        "GET",
        "uploads/{upload_id}",
        get_upload,
        summary="What a session has received, and what is missing",
        returns=schemas.Session,
    ),
    _models("DELETE", "uploads/{upload_id}", abort_upload, summary="Abort a session", returns=schemas.Aborted),
    _part("POST", "uploads/{upload_id}/parts", receive_part, summary="Send one part of an archive"),
    _part("PUT", "uploads/{upload_id}/parts", receive_part, summary="Send one part of an archive"),
    _part("POST", "uploads/{upload_id}/chunks", receive_part, summary="Send one part of an archive"),
    _part("PUT", "uploads/{upload_id}/chunks", receive_part, summary="Send one part of an archive"),
    *(
        _models(
            method,
            "uploads/{upload_id}/files/{path:path}",
            receive_file,
            summary="Send a file of a directory, or one chunk of it",
            query=schemas.FileQuery,
            returns=schemas.FileReceived,
            also={308: schemas.FileIncomplete},
            stream=True,
        )
        for method in ("POST", "PUT")
    ),
    _models(
        "POST",
        "uploads/{upload_id}/complete",
        complete_upload,
        summary="Complete a session and register its model",
        returns=schemas.Completed,
        also={202: schemas.Processing},
    ),
]
