"""Statements on `upload`: a row is an upload."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import UploadNotFound
from libs.states import sql_in
from services.gateway.uploads.states import (
    COMPLETED,
    LIVE,
    OPEN,
    PROCESSING,
    UploadKind,
    UploadStatus,
    UploadTransition,
    require_open,
)
from services.gateway.uploads.store.expiry import Lifetime, extended


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload`."""

    id: str
    serial: int
    project_id: str
    model_id: str
    model_name: str
    model_version: str
    kind: UploadKind
    status: UploadStatus
    chunk_size_bytes: int
    declared_bytes: int  # reserved until it ends
    stored_limit: int | None  # of its project, in bytes, when it was opened
    error: dict[str, Any] | None
    created_at: datetime
    expires_at: datetime


_UPLOAD = columns(Upload)


async def insert(
    tx: Tx,
    *,
    upload_id: str,
    project_id: str,
    model_id: str,
    model_name: str,
    model_version: str,
    kind: str,
    chunk_size_bytes: int,
    expires_at: datetime,
    declared_bytes: int = 0,
    stored_limit: int | None = None,
    key_id: str | None = None,
) -> None:
    """Open an upload, with the key `key_id`, for which `declared_bytes` are reserved until it ends."""
    await tx.execute(
        """
        INSERT INTO upload (id, project_id, model_id, model_name, model_version, kind, chunk_size_bytes, expires_at,
                            declared_bytes, stored_limit, key_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        upload_id,
        project_id,
        model_id,
        model_name,
        model_version,
        kind,
        chunk_size_bytes,
        expires_at,
        declared_bytes,
        stored_limit,
        key_id,
    )


async def get(tx: Tx, project_id: str, upload_id: str) -> Upload:
    """An upload of this project. Raises: UploadNotFound."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 AND project_id = $2", upload_id, project_id)
    if row is None:
        raise UploadNotFound()
    return Upload(**row)


async def lock(tx: Tx, upload_id: str) -> Upload:
    """An upload, locked: only this transaction can change its state. Raises: UploadNotFound."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 FOR UPDATE", upload_id)
    if row is None:
        raise UploadNotFound()
    return Upload(**row)


async def hold_open(tx: Tx, upload_id: str) -> None:
    """Keep an upload open until this transaction ends; many transactions may do so at once.

    A transaction that changes its state takes `lock` first, and waits there for them.
    Raises: UploadNotFound; what `states.why_closed` returns, if it is not open.
    """
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 FOR KEY SHARE", upload_id)
    if row is None:
        raise UploadNotFound()
    require_open(Upload(**row))


async def move(tx: Tx, upload_id: str, transition: UploadTransition, *, error: dict[str, Any] | None = None) -> bool:
    """Make a transition; False if the upload is in none of its source states: of two racing callers, one wins.

    error: {message, code, finding} of an upload that ends for a reason.
    """
    moved = await tx.fetchval(
        f"""
        UPDATE upload
           SET status = $2::text, error = $4,
               processing_at = CASE $2::text WHEN '{PROCESSING}' THEN now() WHEN '{OPEN}' THEN NULL
                                    ELSE processing_at END,
               ended_at = CASE WHEN NOT $2::text {sql_in(LIVE)} THEN now() END,
               -- an upload that is opened again has as long as it had when it was completed
               expires_at = CASE $2::text WHEN '{OPEN}' THEN expires_at + (now() - coalesce(processing_at, now()))
                                    ELSE expires_at END
         WHERE id = $1 AND status = ANY ($3) RETURNING id
        """,
        upload_id,
        transition.target,
        list(transition.sources),
        error,
    )
    return moved is not None


async def reserve(tx: Tx, upload_id: str, size_bytes: int) -> None:
    """Reserve so many bytes for an upload, in the place of what was reserved before."""
    await tx.execute("UPDATE upload SET declared_bytes = $2 WHERE id = $1", upload_id, size_bytes)


async def set_secret(tx: Tx, upload_id: str, secret: bytes) -> None:
    """Set what the URLs of an upload are signed with."""
    await tx.execute("UPDATE upload SET secret = $2 WHERE id = $1", upload_id, secret)


async def with_secret(tx: Tx, upload_id: str) -> tuple[Upload, bytes | None] | None:
    """An upload of any project, and what its URLs are signed with, if it has such; None if there is no such upload."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD}, secret FROM upload WHERE id = $1", upload_id)
    if row is None:
        return None
    return Upload(**{name: row[name] for name in Upload.__struct_fields__}), row["secret"]


async def extend(tx: Tx, upload_id: str, lifetime: Lifetime) -> None:
    """Let an open upload live on from now."""
    await tx.execute(
        f"""
        WITH held AS (SELECT id FROM upload WHERE id = $1 AND status = '{OPEN}'),
             {extended("held", ttl="$2", longest="$3")}
        SELECT
        """,
        upload_id,
        lifetime.ttl,
        lifetime.longest,
    )


async def expired(tx: Tx, now: datetime, limit: int = 100) -> list[Upload]:
    """Open uploads past their `expires_at`, locked; rows that another transaction has locked are left out."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload WHERE status = '{OPEN}' AND expires_at < $1
         ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        now,
        limit,
    )
    return [Upload(**row) for row in rows]


async def stuck(tx: Tx, before: datetime, limit: int = 100) -> list[Upload]:
    """Uploads in processing since `before`, locked; rows that another transaction has locked are left out."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload WHERE status = '{PROCESSING}' AND coalesce(processing_at, expires_at) < $1
         ORDER BY coalesce(processing_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        before,
        limit,
    )
    return [Upload(**row) for row in rows]


async def page(
    tx: Tx, project_id: str, *, status: str | None, model_name: str | None, after: str | None, limit: int
) -> list[Upload]:
    """Up to `limit` uploads of the project, newest first, after the upload `after`."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload
         WHERE project_id = $1
           AND ($2::text IS NULL OR status = $2)
           AND ($3::text IS NULL OR model_name = $3)
           AND ($4::text IS NULL OR serial < (SELECT serial FROM upload WHERE id = $4 AND project_id = $1))
         ORDER BY serial DESC LIMIT $5
        """,
        project_id,
        status,
        model_name,
        after,
        limit,
    )
    return [Upload(**row) for row in rows]


async def that_brought(tx: Tx, keys: list[str]) -> list[Upload]:
    """For each of these objects, the first completed upload whose model has it."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload
         WHERE id IN (SELECT (SELECT u.id FROM model_file f JOIN upload u USING (model_id)
                               WHERE f.project_id = b.project_id AND f.sha256 = b.sha256 AND u.status = '{COMPLETED}'
                               ORDER BY u.serial LIMIT 1)
                        FROM blob b WHERE b.key = ANY ($1))
         ORDER BY serial
        """,
        keys,
    )
    return [Upload(**row) for row in rows]


async def that_brought_models(tx: Tx, model_ids: Sequence[str]) -> dict[str, str]:
    """The completed upload of each model, by model."""
    rows = await tx.fetch(
        f"SELECT model_id, id FROM upload WHERE model_id = ANY ($1) AND status = '{COMPLETED}'", model_ids
    )
    return {row["model_id"]: row["id"] for row in rows}


async def live_of_model(tx: Tx, model_id: str) -> str | None:
    """The id of the upload of this model, if that has not ended."""
    upload_id: str | None = await tx.fetchval(
        f"SELECT id FROM upload WHERE model_id = $1 AND status {sql_in(LIVE)} LIMIT 1", model_id
    )
    return upload_id


async def live_among(tx: Tx, upload_ids: list[str]) -> set[str]:
    """Which of these uploads have not ended: objects may still be stored for them."""
    rows = await tx.fetch(f"SELECT id FROM upload WHERE id = ANY ($1) AND status {sql_in(LIVE)}", upload_ids)
    return {row["id"] for row in rows}
