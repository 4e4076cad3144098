"""The operator's routes for the installation: processes, events, what is parked, audits of storage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec

from libs.contracts import ObjectAuditRequested
from libs.db import connection, transaction
from libs.errors import Invalid, ModelNotFound, WrongState
from libs.outbox import emit
from libs.status import REPLAY, RETRY, STATUS
from libs.web import Request, Route
from services.gateway.admin import responses, schemas, store
from services.gateway.dependencies import Dependencies
from services.gateway.models import registration
from services.gateway.models.store import models
from services.gateway.projects.access import OPERATOR
from services.gateway.uploads import transitions
from services.gateway.uploads.store import uploads

WAIT_S = 1.0  # for the processes to answer; one that takes longer is shown as silent
PARKED_AT_MOST = 1000  # of each kind

T = TypeVar("T", bound=msgspec.Struct)


async def get_status(request: Request[Dependencies]) -> schemas.Status:
    """The status of every process, as it says itself. Raises: Unavailable if the broker cannot be reached."""
    dependencies = request.dependencies
    answered = _decoded(await dependencies.bus.ask(STATUS, b"", WAIT_S), schemas.ServiceStatus)
    backlogs = await dependencies.bus.backlogs()
    heard = {each.service for each in answered}
    return schemas.Status(
        services=sorted(answered, key=lambda each: (each.service, each.instance)),
        silent=[each.service for each in backlogs if each.service not in heard],
        backlogs=[msgspec.convert(each, schemas.Backlog, from_attributes=True) for each in backlogs],
    )


async def retry_outbox(request: Request[Dependencies]) -> schemas.Answers:
    """Tell every service to publish again the events that the broker refused. Raises: Unavailable."""
    body: schemas.RetryOutbox = request.body
    return await _tell_services(request, RETRY, body)


async def replay(request: Request[Dependencies]) -> schemas.Answers:
    """Tell every service to publish again events that it has published. Raises: Invalid; Unavailable."""
    body: schemas.Replay = request.body
    if body.since is None and body.event_ids is None:
        raise Invalid("Give 'since' or 'event_ids'; all that is kept would be a week of events.", param="since")
    return await _tell_services(request, REPLAY, body)


async def _tell_services(request: Request[Dependencies], subject: str, body: msgspec.Struct) -> schemas.Answers:
    dependencies = request.dependencies
    answers = await dependencies.bus.ask(subject, msgspec.json.encode(body), WAIT_S)
    return schemas.Answers(data=sorted(_decoded(answers, schemas.Done), key=lambda each: each.service))


async def resume_upload(request: Request[Dependencies]) -> schemas.Resumed:
    """Try the parked streams of an upload again now. Emits: UploadResumeRequested.

    The next sweep asks the extractor about those that wait for an event which could not be handled.
    Raises: UploadNotFound; the reason, if it has ended; WrongState, if nothing of it waits.
    """
    dependencies = request.dependencies
    async with transaction(dependencies.pool) as tx:
        upload = await uploads.lock(tx, request.params["id"])
        now = datetime.now(UTC)
        stale_after = timedelta(seconds=dependencies.config.stale_after_s)
        events = await transitions.resume(tx, upload, due_at=now - stale_after, at=now)
        await emit(tx, events)
    return schemas.Resumed(id=upload.id, stream_ids=events[0].stream_ids)


async def resume_model(request: Request[Dependencies]) -> schemas.Resumed:
    """Ask again now for the verdict on a model, also on one that was given up. Emits: ModelValidationRequested.

    Raises: ModelNotFound; WrongState, if it waits for no verdict.
    """
    dependencies = request.dependencies
    model_id = request.params["id"]
    async with transaction(dependencies.pool) as tx:
        question = await registration.resume(tx, model_id, at=datetime.now(UTC))
        if question is None:
            status = await models.status_of(tx, model_id)
            if status is None:
                raise ModelNotFound
            raise WrongState(f"This model is '{status}' and waits for no verdict.", retryable=False)
        await emit(tx, [question])
    return schemas.Resumed(id=model_id, validation_id=question.validation_id)


async def request_audit(request: Request[Dependencies]) -> schemas.AuditRequested:
    """Request a comparison of storage with the registry. Emits: ObjectAuditRequested."""
    body: schemas.RequestAudit = request.body
    dependencies = request.dependencies
    requested = ObjectAuditRequested(fix=body.fix, at=datetime.now(UTC))
    async with transaction(dependencies.pool) as tx:
        await emit(tx, [requested])
    return schemas.AuditRequested(at=requested.at.isoformat(), fix=body.fix)


async def list_audits(request: Request[Dependencies]) -> schemas.AuditList:
    """The last audits, the newest first."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        return schemas.AuditList(data=[responses.audit(each) for each in await store.audits(tx)])


async def list_parked(request: Request[Dependencies]) -> schemas.ParkedList:
    """Uploads and models that wait for something which their client cannot do; the longest waiting first."""
    dependencies = request.dependencies
    async with connection(dependencies.pool) as tx:
        waiting = [responses.parked("upload", each) for each in await store.parked_uploads(tx, PARKED_AT_MOST)]
        waiting += [responses.parked("model", each) for each in await store.parked_models(tx, PARKED_AT_MOST)]
    return schemas.ParkedList(data=sorted(waiting, key=lambda each: each.since))


def _decoded(answers: Sequence[bytes], kind: type[T]) -> list[T]:
    return [msgspec.json.decode(answer, type=kind) for answer in answers]


_operator = partial(Route, base="root", access=OPERATOR)
_get, _post = partial(_operator, "GET"), partial(_operator, "POST")

ROUTES = [
    _get("/admin/v1/status", get_status, summary="How every process is", returns=schemas.Status),
    _post(
        "/admin/v1/outbox/retry",
        retry_outbox,
        summary="Publish again what the broker refused",
        body=schemas.RetryOutbox,
        returns=schemas.Answers,
    ),
    _post(
        "/admin/v1/replay",
        replay,
        summary="Publish again what was published",
        body=schemas.Replay,
        returns=schemas.Answers,
    ),
    _post(
        "/admin/v1/uploads/{id}/resume",
        resume_upload,
        summary="Try a parked upload again now",
        returns=schemas.Resumed,
        status=202,
    ),
    _post(
        "/admin/v1/models/{id}/resume",
        resume_model,
        summary="Ask for a model's verdict again now",
        returns=schemas.Resumed,
        status=202,
    ),
    _post(
        "/admin/v1/audit",
        request_audit,
        summary="Compare storage with what is registered",
        body=schemas.RequestAudit,
        returns=schemas.AuditRequested,
        status=202,
    ),
    _get("/admin/v1/audit", list_audits, summary="The last audits", returns=schemas.AuditList),
    _get("/admin/v1/parked", list_parked, summary="What is parked, and why", returns=schemas.ParkedList),
]
