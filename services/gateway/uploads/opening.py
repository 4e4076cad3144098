"""Routes that open a session: for an archive in parts, for a directory file by file."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from libs.archives.paths import PathSet, check_path
from libs.contracts import new_id
from libs.contracts.limits import MAX_PARTS
from libs.db import Tx, transaction
from libs.errors import Conflict, Invalid, Unavailable
from libs.web import Request
from services.gateway.dependencies import Dependencies
from services.gateway.models import transitions as model_transitions
from services.gateway.presentation import timestamp
from services.gateway.uploads import describe, schemas
from services.gateway.uploads.store import files, openings, sessions, streams
from services.gateway.uploads.store.sessions import Upload
from services.gateway.uploads.urls import base_path, base_url

MAX_KEY_CHARACTERS = 255
OPENING_KEPT = timedelta(hours=24)  # how long an Idempotency-Key stands for its answer
MIB = 1 << 20

A = TypeVar("A", bound=msgspec.Struct)


def part_size(archive_size: int, wanted: int) -> int:
    """Bytes per part: as wanted, or as many whole MiB more as keep the archive within 10,000 parts."""
    if archive_size <= wanted * MAX_PARTS:
        return wanted
    return -(-archive_size // (MAX_PARTS * MIB)) * MIB


async def create_archive(request: Request[Dependencies]) -> schemas.ArchiveCreated:
    """Open a session for an archive. Raises: Invalid; Conflict if the version exists."""
    body: schemas.CreateArchive = request.body
    dependencies = request.dependencies
    _require_fit(body.archive_size, dependencies.config.max_model_bytes, param="archive_size")
    chunk_size = part_size(body.archive_size, dependencies.config.chunk_size_bytes)
    total = -(-body.archive_size // chunk_size)

    async def open_session(tx: Tx) -> schemas.ArchiveCreated:
        upload = await _open(request, tx, body.model_name, body.version, kind="archive", chunk_size=chunk_size)
        await streams.insert(
            tx,
            stream_id=streams.stream_id(upload.id, 0),
            upload_id=upload.id,
            number=0,
            format=body.archive_format,
            path=None,
            size_bytes=body.archive_size,
            total_parts=total,
            sha256=body.sha256.lower() if body.sha256 else None,
        )
        return schemas.ArchiveCreated(
            session_id=upload.id,
            upload_url=f"{base_url(request)}/uploads/{upload.id}/chunks",
            chunk_size=chunk_size,
            total_chunks=total,
            expires_at=timestamp(upload.expires_at),
            model_id=upload.model_id,
            model_name=upload.model_name,
            version=upload.model_version,
        )

    return await _once(request, schemas.ArchiveCreated, open_session)


async def create_directory(request: Request[Dependencies]) -> schemas.DirectoryCreated:
    """Open a session for a directory; files that the project has already need not be sent.

    Raises: Invalid, for a path that may not be, repeats or collides; Conflict if the version exists.
    """
    body: schemas.CreateDirectory = request.body
    dependencies = request.dependencies
    _require_fit(sum(file.size for file in body.files), dependencies.config.max_model_bytes, param="files")
    manifest = _manifest(body.files)

    async def open_session(tx: Tx) -> schemas.DirectoryCreated:
        upload = await _open(
            request,
            tx,
            body.model_name,
            body.version,
            kind="directory",
            chunk_size=dependencies.config.chunk_size_bytes,
        )
        await files.insert_manifest(tx, upload.id, manifest)
        await files.mark_present(tx, upload.id, upload.project_id)
        slots = await files.of_upload(tx, upload.id)
        known = await files.known_sizes(tx, upload.project_id, [file.size_bytes for file in slots])
        return schemas.DirectoryCreated(
            session_id=upload.id,
            upload_url=f"{base_url(request)}/uploads/{upload.id}/files",
            files=describe.file_slots(base_path(request), upload, body.files, slots, known),
            expires_at=timestamp(upload.expires_at),
            model_id=upload.model_id,
            model_name=upload.model_name,
            version=upload.model_version,
        )

    return await _once(request, schemas.DirectoryCreated, open_session)


async def _once(request: Request[Dependencies], kind: type[A], open_session: Callable[[Tx], Awaitable[A]]) -> A:
    """What `open_session` answers; with an `Idempotency-Key` that was sent within a day, what that was answered.

    Raises: Invalid for a key that is too long; Conflict if it was sent with another body.
    """
    dependencies = request.dependencies
    key = request.http.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise Invalid(f"Idempotency-Key may have up to {MAX_KEY_CHARACTERS} characters.", param="Idempotency-Key")
    project_id = request.principal.project_id
    async with transaction(dependencies.pool) as tx:
        if key is None:
            return await open_session(tx)
        asked = hashlib.sha256(kind.__name__.encode() + msgspec.json.encode(request.body)).hexdigest()
        if await openings.claim(tx, project_id, key, asked, datetime.now(UTC) - OPENING_KEPT):
            answer = await open_session(tx)
            await openings.record(tx, project_id, key, answer)
            return answer
        earlier = await openings.get(tx, project_id, key)
    if earlier is None:
        raise Unavailable("The Idempotency-Key has just run out; send the request again.")
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


def _require_fit(size_bytes: int, max_bytes: int, *, param: str) -> None:
    if size_bytes > max_bytes:
        raise Invalid(
            f"The model has {size_bytes} bytes, more than the {max_bytes} that this installation takes. Ask its "
            "operator to raise SLIPWAY_MAX_MODEL_BYTES.",
            param=param,
        )


async def _open(
    request: Request[Dependencies], tx: Tx, name: str, version: str | None, *, kind: str, chunk_size: int
) -> Upload:
    dependencies = request.dependencies
    project_id = request.principal.project_id
    model_id, chosen = await model_transitions.create(tx, project_id, name, version)
    upload_id = new_id()
    await sessions.insert(
        tx,
        upload_id=upload_id,
        project_id=project_id,
        model_id=model_id,
        model_name=name,
        model_version=chosen,
        kind=kind,
        chunk_size_bytes=chunk_size,
        expires_at=datetime.now(UTC) + timedelta(seconds=dependencies.config.session_ttl_s),
    )
    return await sessions.get(tx, project_id, upload_id)
