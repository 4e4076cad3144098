"""getUploadEndpoint: the files of a model are announced, and each gets a URL."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from libs.archives.paths import PathSet, check_path
from libs.db import Tx, transaction
from libs.errors import Invalid
from libs.outbox import emit
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.fireworks import schemas, store
from services.gateway.fireworks.account import account_of
from services.gateway.fireworks.errors import FailedPrecondition
from services.gateway.fireworks.opening import begin
from services.gateway.limits.quotas import demand, require_room_for_bytes
from services.gateway.models.states import ERROR
from services.gateway.uploads import signatures, staging
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.objects import dropped
from services.gateway.uploads.states import OPEN
from services.gateway.uploads.store import files, streams, transfers, uploads
from services.gateway.uploads.store.uploads import Upload

NAMED_AT_MOST = 20  # files in one message


async def get_upload_endpoint(request: Request[Dependencies]) -> schemas.UploadEndpoint:
    """A URL for each file, by which it is PUT without a key; repeating it is fine, with further files too.

    Once everything has arrived it changes nothing any more: what comes by these URLs then is forgotten. For a model
    that has failed, its upload begins anew.
    Raises: NotFound; ModelNotFound; Invalid for a path that cannot be, repeats or collides, and for a model that is too
    large; FailedPrecondition, if the model is uploaded otherwise.
    """
    account_of(request)
    body: schemas.GetUploadEndpoint = request.body
    manifest = _manifest(body.filename_to_size)
    await _begin_anew(request)
    async with transaction(request.dependencies.pool) as tx:
        upload = await _upload(request, tx)
        if upload.status == OPEN:
            await _announce(request, tx, upload, list(manifest.values()))
        found = await uploads.with_secret(tx, upload.id)
    secret = found[1] if found else None
    paths = {given: path for given, (path, _) in manifest.items()}
    resumable = body.enable_resumable_upload and secret is not None
    urls = _resumable_urls(request, upload, secret or b"", paths) if resumable else _urls(request, upload, paths)
    return schemas.UploadEndpoint(filename_to_signed_urls={given: urls[path] for given, path in paths.items()})


def _manifest(sizes: Mapping[str, int | str]) -> dict[str, tuple[str, int]]:
    """By the name that the client gives: the path in normal form, and the size in bytes."""
    paths = PathSet()
    manifest = {}
    for given, size in sizes.items():
        path = check_path(given)
        paths.add_file(path)
        manifest[given] = path, int(size)
    return manifest


async def _begin_anew(request: Request[Dependencies]) -> None:
    """Open another upload for a model that has failed. Raises: ModelNotFound; QuotaExceeded."""
    project_id, name = request.principal.project_id, request.params["model"]
    async with transaction(request.dependencies.pool) as tx:
        if (await store.get(tx, project_id, name)).status != ERROR:
            return
        await store.lock_name(tx, project_id, name)
        model = await store.get(tx, project_id, name)
        if model.status == ERROR:
            await begin(request, tx, name, model.declared or {}, model.description)


async def _upload(request: Request[Dependencies], tx: Tx) -> Upload:
    """The upload that the URLs are for, locked."""
    name = request.params["model"]
    model = await store.get(tx, request.principal.project_id, name)
    last = await store.last_upload(tx, model.id)
    if last is None:
        raise FailedPrecondition(f"The upload of model {name!r} is gone; delete the model and create it again.")
    upload = await uploads.lock(tx, last.id)
    if upload.status == OPEN and upload.kind != "signed":
        raise FailedPrecondition(
            f"Model {name!r} is being uploaded otherwise (upload {upload.id}, of the kind {upload.kind!r}); complete "
            "or abort that one first.",
            retryable=False,
        )
    return upload


async def _announce(request: Request[Dependencies], tx: Tx, upload: Upload, manifest: list[tuple[str, int]]) -> None:
    config = request.dependencies.config
    resized = {file.number: file for file in await files.announce(tx, upload.id, manifest)}
    under_way = {stream.number for stream in await streams.of_upload(tx, upload.id)}
    arrived = [file.path for file in resized.values() if file.key is not None or file.number in under_way]
    if arrived:
        raise FailedPrecondition(
            f"{', '.join(arrived[:NAMED_AT_MOST])} arrived already, with another size; delete the model and create it "
            "again to send other files.",
            param="filenameToSize",
            retryable=False,
        )
    await _forget_held(tx, upload, resized.keys())
    everything = await files.of_upload(tx, upload.id)
    paths = PathSet()
    for file in everything:  # with those that were announced before
        paths.add_file(file.path)
    size_bytes = sum(file.size_bytes for file in everything)
    if size_bytes > config.max_model_bytes:
        raise Invalid(
            f"The model has {size_bytes} bytes, more than the {config.max_model_bytes} that this installation takes. "
            "Ask its operator to raise SLIPWAY_MAX_MODEL_BYTES.",
            param="filenameToSize",
        )
    wanted = demand(request.principal, size_bytes, size_bytes - upload.declared_bytes)
    await require_room_for_bytes(tx, upload.project_id, wanted)
    await uploads.reserve(tx, upload.id, size_bytes)
    await uploads.extend(tx, upload.id, lifetime(config))


async def _forget_held(tx: Tx, upload: Upload, numbers: Collection[int]) -> None:
    """What was sent of these files does not count any more; storage forgets it when the upload ends.

    Emits: ObjectDropped.
    """
    for transfer in await transfers.of_upload(tx, upload.id):
        if transfer.number in numbers and await transfers.discard(tx, transfer) and transfer.tail_key is not None:
            await emit(tx, [dropped(upload, transfer.tail_key, "announced_anew")])


def _urls(request: Request[Dependencies], upload: Upload, paths: Mapping[str, str]) -> Mapping[str, str]:
    config = request.dependencies.config
    return staging.signed_urls(
        request.dependencies.blobs,
        upload,
        paths.values(),
        expires_s=int(config.signed_url_ttl_s),
        origin=config.s3_public_url,
    )


def _resumable_urls(
    request: Request[Dependencies], upload: Upload, secret: bytes, paths: Mapping[str, str]
) -> Mapping[str, str]:
    config = request.dependencies.config
    base_url = (config.public_url or request.origin()).rstrip("/")
    return signatures.signed_urls(base_url, upload.id, secret, paths.values(), expires_s=config.signed_url_ttl_s)
