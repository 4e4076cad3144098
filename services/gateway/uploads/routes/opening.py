"""Routes that open an upload: of an archive in parts, of a directory file by file."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from libs.archives.paths import PathSet, check_path
from libs.db import Tx, connection, transaction
from libs.errors import Conflict, Invalid, Unavailable
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.limits.quotas import Demand, demand
from services.gateway.uploads import responses, schemas, transitions
from services.gateway.uploads.deadlines import IDEMPOTENCY_KEY_KEPT
from services.gateway.uploads.part_sizes import of_archive
from services.gateway.uploads.store import files, idempotency_keys, streams
from services.gateway.uploads.store.uploads import Upload

MAX_KEY_CHARACTERS = 255

S = TypeVar("S", bound=msgspec.Struct)


async def open_archive(request: Request[Dependencies]) -> schemas.ArchiveCreated:
    """Open an upload of an archive. Raises: Invalid; QuotaExceeded; Conflict if the version exists."""
    body: schemas.CreateArchive = request.body
    dependencies = request.dependencies
    wanted = demand(request.principal, body.archive_size)
    require_fit(wanted, dependencies.config.max_model_bytes, param="archive_size")
    chunk_size = of_archive(body.archive_size, dependencies.config.chunk_size_bytes)
    total = -(-body.archive_size // chunk_size)

    async def open_upload(tx: Tx) -> schemas.ArchiveCreated:
        upload = await begin(request, tx, body.model_name, body.version, wanted, kind="archive", chunk_size=chunk_size)
        await streams.insert(
            tx,
            stream_id=streams.stream_id(upload.id, 0),
            upload_id=upload.id,
            number=0,
            archive_format=body.archive_format,
            size_bytes=body.archive_size,
            total_parts=total,
            sha256=body.sha256.lower() if body.sha256 else None,
        )
        return responses.archive_created(request, upload, total)

    return await once(request, schemas.ArchiveCreated, open_upload)


async def open_directory(request: Request[Dependencies]) -> schemas.DirectoryCreated:
    """Open an upload of a directory; files that the project has already need not be sent.

    Raises: Invalid, for a path that may not be, repeats or collides; QuotaExceeded; Conflict if the version exists.
    """
    body: schemas.CreateDirectory = request.body
    dependencies = request.dependencies
    wanted = demand(request.principal, sum(file.size for file in body.files))
    require_fit(wanted, dependencies.config.max_model_bytes, param="files")
    manifest = _manifest(body.files)
    declared = [(sha256, size) for _, size, sha256 in manifest if sha256 is not None]

    async def open_upload(tx: Tx) -> schemas.DirectoryCreated:
        present = await files.stored_before(tx, request.principal.project_id, declared) if declared else 0
        upload = await begin(
            request,
            tx,
            body.model_name,
            body.version,
            msgspec.structs.replace(wanted, new_bytes=wanted.size_bytes - present),
            kind="directory",
            chunk_size=dependencies.config.chunk_size_bytes,
        )
        await files.insert_manifest(tx, upload.id, manifest)
        await files.mark_present(tx, upload.id, upload.project_id)
        slots = await files.of_upload(tx, upload.id)
        known = await files.known_sizes(tx, upload.project_id, [file.size_bytes for file in slots])
        listed = responses.file_slots(request, upload, body.files, slots, known)
        return responses.directory_created(request, upload, listed)

    return await once(request, schemas.DirectoryCreated, open_upload)


async def once(request: Request[Dependencies], kind: type[S], open_upload: Callable[[Tx], Awaitable[S]]) -> S:
    """Open an upload once for each `Idempotency-Key`: a key that was sent within a day gets its former response.

    Raises: Invalid for a key that is too long; Conflict if it was sent with another body.
    """
    key, asked = _idempotency_key(request), _asked(request, kind)
    project_id = request.principal.project_id
    async with transaction(request.dependencies.pool) as tx:
        if key is None:
            return await open_upload(tx)
        if await idempotency_keys.claim(tx, project_id, key, asked, datetime.now(UTC) - IDEMPOTENCY_KEY_KEPT):
            response = await open_upload(tx)
            await idempotency_keys.record(tx, project_id, key, response)
            return response
        earlier = await idempotency_keys.get(tx, project_id, key)
    if earlier is None:
        raise Unavailable("The Idempotency-Key has just run out; send the request again.")
    return _answer(earlier, asked, kind)


async def answered_before(request: Request[Dependencies], kind: type[S]) -> S | None:
    """The former response to the request's `Idempotency-Key`, for what takes long before it opens an upload.

    Raises: as `once`.
    """
    key = _idempotency_key(request)
    if key is None:
        return None
    async with connection(request.dependencies.pool) as tx:
        earlier = await idempotency_keys.get(tx, request.principal.project_id, key)
    if earlier is None or earlier.answer is None or earlier.created_at < datetime.now(UTC) - IDEMPOTENCY_KEY_KEPT:
        return None
    return _answer(earlier, _asked(request, kind), kind)


def _idempotency_key(request: Request[Dependencies]) -> str | None:
    key = request.http.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise Invalid(f"Idempotency-Key may have up to {MAX_KEY_CHARACTERS} characters.", param="Idempotency-Key")
    return key


def _asked(request: Request[Dependencies], kind: type[S]) -> str:
    return hashlib.sha256(kind.__name__.encode() + msgspec.json.encode(request.body)).hexdigest()


def _answer(earlier: idempotency_keys.Opening, asked: str, kind: type[S]) -> S:
    if earlier.body_sha256 != asked:
        raise Conflict(
            "This Idempotency-Key was sent with another request within the last 24 hours; use a new one.",
            param="Idempotency-Key",
            retryable=False,
        )
    return msgspec.convert(earlier.answer, kind)


def _manifest(listed: list[schemas.ManifestFile]) -> list[tuple[str, int, str | None]]:
    paths = PathSet()
    manifest = []
    for file in listed:
        path = check_path(file.relative_path)
        paths.add_file(path)
        manifest.append((path, file.size, file.sha256.lower() if file.sha256 else None))
    return manifest


def require_fit(wanted: Demand, max_bytes: int, *, param: str) -> None:
    """Raises: Invalid, for a model that is too large, unless its project has a limit of its own."""
    if wanted.limits.upload_bytes is None and wanted.size_bytes > max_bytes:
        raise Invalid(
            f"The model has {wanted.size_bytes} bytes, more than the {max_bytes} that this installation takes. Ask its "
            "operator to raise SLIPWAY_MAX_MODEL_BYTES.",
            param=param,
        )


async def begin(
    request: Request[Dependencies],
    tx: Tx,
    name: str,
    version: str | None,
    wanted: Demand,
    *,
    kind: str,
    chunk_size: int,
) -> Upload:
    """Open an upload of the request's project. Raises: Conflict if the version exists."""
    return await transitions.begin(
        tx,
        request.principal.project_id,
        name,
        version,
        kind=kind,
        chunk_size_bytes=chunk_size,
        expires_at=datetime.now(UTC) + timedelta(seconds=request.dependencies.config.session_ttl_s),
        wanted=wanted,
    )
