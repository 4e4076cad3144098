"""Routes that end an upload: completed, and registered as a model, or aborted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from libs.db import connection, transaction
from libs.errors import Conflict, ModelNotFound
from libs.outbox import emit
from libs.tasks import unless_set
from libs.web import Request, Response
from services.gateway.dependencies import Dependencies
from services.gateway.models.store import files as model_files
from services.gateway.uploads import responses, schemas, transitions
from services.gateway.uploads.completeness import require_everything
from services.gateway.uploads.resumable import Superseded, Turn
from services.gateway.uploads.routes import chunks
from services.gateway.uploads.states import COMPLETED, DIRECTORIES, LIVE, OPEN, why_closed
from services.gateway.uploads.store import files, streams, transfers, uploads
from services.gateway.uploads.store.channels import UPLOAD_CHANGED
from services.gateway.uploads.store.uploads import Upload

POLL_S = 5.0  # how often to look without having been signalled


async def abort_upload(request: Request[Dependencies]) -> schemas.Aborted:
    """Abort an upload; repeating it is fine.

    Emits: UploadAborted.
    Raises: UploadNotFound; why it ended, if it ended otherwise.
    """
    async with transaction(request.dependencies.pool) as tx:
        mine = await uploads.get(tx, request.principal.project_id, request.params["upload_id"])
        upload = await uploads.lock(tx, mine.id)
        await emit(tx, await transitions.abort(tx, upload, at=datetime.now(UTC)))
    return schemas.Aborted(session_id=upload.id)


async def complete_upload(request: Request[Dependencies]) -> schemas.Completed | Response:
    """Complete an upload, and wait (`Prefer: wait=N`) until it is registered; else respond with 202 and where to look.

    Repeating it is fine.
    Emits: UploadCompleted; or ModelRegistered, ModelValidationRequested, if nothing is left to unpack.
    Raises: PartsMissing; ArchiveRejected, FilesMissing with the reason of a failure.
    """
    dependencies, config = request.dependencies, request.dependencies.config
    wait_s = request.prefer_wait_s()
    limit_s = config.complete_wait_s if wait_s is None else min(wait_s, config.complete_wait_max_s)
    with dependencies.signals.subscribe(UPLOAD_CHANGED, request.params["upload_id"]) as changed:
        await _complete(request)
        clock = asyncio.get_running_loop().time
        until = clock() + limit_s
        while True:
            response = await _response(request)
            left_s = until - clock()
            if isinstance(response, schemas.Completed) or left_s <= 0 or dependencies.stop.is_set():
                return response
            await unless_set(dependencies.stop, changed.wait(min(left_s, POLL_S)))


async def _complete(request: Request[Dependencies]) -> None:
    """Complete the upload, if it is open. Raises: UploadNotFound; PartsMissing."""
    dependencies, project_id, now = request.dependencies, request.principal.project_id, datetime.now(UTC)
    async with transaction(dependencies.pool) as tx:
        mine = await uploads.get(tx, project_id, request.params["upload_id"])
        if mine.status == OPEN:
            # Committed by itself: what has vanished must be asked for even though completing is refused below.
            await files.unmark_vanished(tx, mine.id, project_id, transitions.VANISHED)
    if mine.status == OPEN and mine.kind == "signed":
        raise Conflict(
            f"The files of this upload go into storage by signed URLs: GET models/{mine.model_name}:validateUpload "
            "completes it.",
            retryable=False,
        )
    if mine.status == OPEN and mine.kind in DIRECTORIES:
        await finish_files(dependencies, mine)
    async with transaction(dependencies.pool) as tx:
        upload = await uploads.lock(tx, mine.id)
        if upload.status == OPEN:
            await emit(tx, await transitions.complete(tx, upload, at=now))


async def finish_files(dependencies: Dependencies, upload: Upload) -> None:
    """Make one object of every file whose bytes are all held: its last request may have died before it did.

    Emits: UploadOpened.
    Raises: Unavailable.
    """
    async with connection(dependencies.pool) as tx:
        held = [
            (file, transfer)
            for transfer in await transfers.of_upload(tx, upload.id)
            if (file := await files.by_number(tx, upload.id, transfer.number)) is not None
            and transfer.held_bytes == file.size_bytes
        ]
    for file, transfer in held:
        if transfer.part_count is not None:
            await chunks.finish(dependencies, upload, file, transfer)
            continue
        try:
            await Turn(dependencies, upload, file, transfer).finish()
        except Superseded:
            continue  # a newer request of the client's sees to it


async def _response(request: Request[Dependencies]) -> schemas.Completed | Response:
    """The final response, or that the upload is in processing.

    Raises: why it ended otherwise; PartsMissing; ModelNotFound, if its model was deleted for good.
    """
    async with connection(request.dependencies.pool) as tx:
        upload = await uploads.get(tx, request.principal.project_id, request.params["upload_id"])
        if upload.status == OPEN:  # a file turned out wrong, and has to be sent again
            await require_everything(tx, upload)
        if upload.status not in (*LIVE, COMPLETED):
            raise why_closed(upload)
        sequences = await streams.of_upload(tx, upload.id)
        if upload.status == COMPLETED:
            brought = await model_files.of_model(tx, upload.model_id)
            if not brought:
                raise ModelNotFound("The model that this upload brought was deleted since.")
            return responses.completed(upload, sequences, brought)
    return responses.processing(request, upload, sequences)
