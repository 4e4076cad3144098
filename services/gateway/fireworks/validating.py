"""validateUpload: what has arrived is compared with what was announced, taken, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

import msgspec

from libs.contracts import ValidationOptions
from libs.contracts.rules import WEIGHTS_MISSING
from libs.db import connection, transaction
from libs.errors import Invalid, InvalidModelStatus
from libs.modelfiles.required import missing_files
from libs.outbox import emit
from libs.signals import Subscription
from libs.tasks import end
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.fireworks import schemas, store
from services.gateway.fireworks.account import account_of
from services.gateway.fireworks.errors import FailedPrecondition
from services.gateway.fireworks.store import AccountModelRow
from services.gateway.models import registration
from services.gateway.models.states import ERROR, UPLOADING, USABLE, VALIDATING
from services.gateway.models.store import validations
from services.gateway.models.store.channels import MODEL_CHANGED
from services.gateway.uploads import staging, transitions
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.routes.ending import finish_files
from services.gateway.uploads.states import OPEN
from services.gateway.uploads.store import files, streams, transfers, uploads
from services.gateway.uploads.store.channels import UPLOAD_CHANGED
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.uploads import Upload

NAMED_AT_MOST = 20  # files in one message
POLL_S = 5.0  # how often to look without having been signalled
AGAIN = "Call validateUpload again."


async def validate_upload(request: Request[Dependencies]) -> schemas.Nothing:
    """Make a model READY whose files have arrived: {} once it is; waits for that for some time (`Prefer: wait=N`).

    Emits: UploadOpened, UploadCompleted, or what `register` does; ModelValidationRequested.
    Raises: NotFound; ModelNotFound; FailedPrecondition, while files are missing or being checked, with which ones;
    Invalid for a file of another size than announced, and for a model that was refused.
    """
    account_of(request)
    dependencies = request.dependencies
    model = await _model(request)
    upload = await _last_upload(request, model)
    with ExitStack() as opened:
        changed = [opened.enter_context(dependencies.signals.subscribe(MODEL_CHANGED, model.id))]
        if upload is not None:
            changed.append(opened.enter_context(dependencies.signals.subscribe(UPLOAD_CHANGED, upload.id)))
        if model.status == UPLOADING:
            await _begin(request, model, upload)
        elif model.status not in USABLE:
            await _take_options(request, model)
        return await _verdict(request, changed)


def options_of(query: schemas.ValidateQuery) -> ValidationOptions:
    """What the parameters of the request are called elsewhere."""
    return ValidationOptions(
        config_only=query.config_only,
        skip_config=query.skip_hf_config_validation,
        trust_remote_code=query.trust_remote_code,
    )


async def _take_options(request: Request[Dependencies], model: AccountModelRow) -> None:
    """Options count from the call that begins the check; a later one may leave them out.

    A model that was refused is checked anew with other ones.
    Emits: ModelValidationRequested.
    Raises: Invalid for other options while the check is under way.
    """
    options = options_of(request.query)
    if options in (ValidationOptions(), msgspec.convert(model.validation_options or {}, ValidationOptions)):
        return
    if model.status != ERROR:
        raise Invalid(
            f"The check of model {model.name!r} has begun with other parameters, which are not changed under way. Go "
            "on without any until it has ended.",
            code="already_begun",
            retryable=False,
        )
    try:
        async with transaction(request.dependencies.pool) as tx:
            await validations.set_options(tx, model.id, options)
            project_id = request.principal.project_id
            await emit(tx, [await registration.revalidate(tx, project_id, model.id, at=datetime.now(UTC))])
    except InvalidModelStatus:
        return  # it has no files: `_verdict` says why


async def _model(request: Request[Dependencies]) -> AccountModelRow:
    async with connection(request.dependencies.pool) as tx:
        return await store.get(tx, request.principal.project_id, request.params["model"])


async def _last_upload(request: Request[Dependencies], model: AccountModelRow) -> Upload | None:
    async with connection(request.dependencies.pool) as tx:
        return await store.last_upload(tx, model.id)


# Beginning


async def _begin(request: Request[Dependencies], model: AccountModelRow, upload: Upload | None) -> None:
    """Have the files taken, if all of them have arrived. Raises: FailedPrecondition; Invalid."""
    if upload is None or upload.kind != "signed":
        raise FailedPrecondition(
            f"Model {model.name!r} is being uploaded otherwise; complete that upload first.", retryable=False
        )
    if upload.status != OPEN:
        return
    dependencies = request.dependencies
    await finish_files(dependencies, upload)
    async with connection(dependencies.pool) as tx:
        await uploads.extend(tx, upload.id, lifetime(dependencies.config))
        announced = await files.of_upload(tx, upload.id)
        under_way = {stream.number for stream in await streams.of_upload(tx, upload.id)}
        held = {transfer.number: transfer.held_bytes for transfer in await transfers.of_upload(tx, upload.id)}
    options = options_of(request.query)
    _require_announced(model, announced, options)
    waiting = [file for file in announced if file.key is None and file.number not in under_way]
    found = await staging.sizes(dependencies.blobs, upload, [file.path for file in waiting])
    _require_arrived(waiting, found, held)
    async with transaction(dependencies.pool) as tx:
        upload = await uploads.lock(tx, upload.id)
        if upload.status == OPEN and await files.of_upload(tx, upload.id) == announced:
            await validations.set_options(tx, model.id, options)
            await emit(tx, await transitions.take_staged(tx, upload, waiting, at=datetime.now(UTC)))


def _require_announced(model: AccountModelRow, announced: Sequence[UploadFile], options: ValidationOptions) -> None:
    """Every file that create has named, and without which no model is, has been announced."""
    details = msgspec.convert(model.declared or {}, schemas.NewModel).base_model_details
    paths = {file.path for file in announced}
    lacking = [path for path in (details.huggingface_files if details else []) if path not in paths]
    if lacking or not announced:
        named = _named(lacking) if lacking else "any file"
        raise FailedPrecondition(
            f"No upload URL was asked for {named}: call getUploadEndpoint, PUT every file, then validateUpload again.",
            details={"missing": lacking},
        )
    findings = [each for each in missing_files(paths) if each.rule != WEIGHTS_MISSING or not options.config_only]
    if findings:
        raise Invalid(f"{findings[0].sentence()} Ask getUploadEndpoint for its URL, PUT it, then validate again.")


def _require_arrived(waiting: Sequence[UploadFile], found: dict[str, int], held: dict[int, int]) -> None:
    wrong = [file for file in waiting if file.path in found and found[file.path] != file.size_bytes]
    if wrong:
        said = "; ".join(
            f"{file.path} has {found[file.path]} bytes, {file.size_bytes} were announced"
            for file in wrong[:NAMED_AT_MOST]
        )
        raise Invalid(
            f"{said}. PUT the whole file to its URL again, or ask getUploadEndpoint anew with the right size. {AGAIN}",
            code="part_size_mismatch",
            details={"files": [file.path for file in wrong]},
        )
    missing = [file for file in waiting if file.path not in found]
    if missing:
        refused = " ".join(file.refused for file in missing if file.refused)
        partly = [
            f"{file.path} ({held[file.number]} of {file.size_bytes} bytes)" for file in missing if held.get(file.number)
        ]
        wholly = [file.path for file in missing if not held.get(file.number)]
        raise FailedPrecondition(
            f"{len(missing)} file(s) have not arrived: {_named([*wholly, *partly])}. {refused + ' ' if refused else ''}"
            "PUT them to the URLs of getUploadEndpoint, then call validateUpload again.",
            details={"missing": [file.path for file in missing]},
        )


def _named(paths: Sequence[str]) -> str:
    return ", ".join(paths[:NAMED_AT_MOST]) + (", …" if len(paths) > NAMED_AT_MOST else "")


# Waiting


async def _verdict(request: Request[Dependencies], changed: Sequence[Subscription]) -> schemas.Nothing:
    """{} once the model is READY. Raises: Invalid; FailedPrecondition, if it is not in time."""
    dependencies, config = request.dependencies, request.dependencies.config
    wait_s = request.prefer_wait_s()
    limit_s = config.validate_wait_s if wait_s is None else min(wait_s, config.complete_wait_max_s)
    clock = asyncio.get_running_loop().time
    until = clock() + limit_s
    while True:
        model = await _model(request)
        if model.status in USABLE:
            return schemas.Nothing()
        if model.status == ERROR:
            raise Invalid(
                f"Model {model.name!r} was refused: {model.status_reason} Ask getUploadEndpoint for new URLs to upload "
                "it again.",
                code="model_refused",
                retryable=False,
            )
        left_s = until - clock()
        if model.status == UPLOADING:
            raise await _why_reopened(request, model)
        if left_s <= 0 or dependencies.stop.is_set():
            raise await _why_not_yet(request, model)
        await _first_of(changed, min(left_s, POLL_S), dependencies.stop)


async def _first_of(changed: Sequence[Subscription], timeout_s: float, stop: asyncio.Event) -> None:
    """Return at the first signal, when this process is to end, or after `timeout_s`."""
    waiting = [asyncio.create_task(each.wait(timeout_s)) for each in changed]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*waiting, stopping)


async def _why_reopened(request: Request[Dependencies], model: AccountModelRow) -> Invalid:
    """Why files have to be sent again after they had been taken."""
    upload = await _last_upload(request, model)
    async with connection(request.dependencies.pool) as tx:
        announced = await files.of_upload(tx, upload.id) if upload else []
    refused = [file.refused for file in announced if file.refused]
    if not refused:
        return FailedPrecondition(f"Other files were announced at the same time. {AGAIN}")
    return Invalid(f"{' '.join(refused[:NAMED_AT_MOST])} PUT it to its URL, then call validateUpload again.")


async def _why_not_yet(request: Request[Dependencies], model: AccountModelRow) -> FailedPrecondition:
    """What the model waits for."""
    if model.status == VALIDATING:
        why = f" It waits: {model.status_reason}" if model.status_reason else ""
        return FailedPrecondition(f"All files have arrived, and the model is being checked.{why} {AGAIN}")
    upload = await _last_upload(request, model)
    async with connection(request.dependencies.pool) as tx:
        sequences = await streams.of_upload(tx, upload.id) if upload else []
    reading = [stream.path or "" for stream in sequences if not stream.unpacked]
    parked = next((stream.waiting_for for stream in sequences if stream.waiting_for and not stream.unpacked), None)
    why = f" It waits: {parked}" if parked else ""
    return FailedPrecondition(
        f"All files have arrived; {len(reading)} of them are still being read: {_named(reading)}.{why} {AGAIN}",
        details={"checking": reading},
    )
