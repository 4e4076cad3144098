"""Statements on `upload`: one session each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import Rejected, SlipwayError, UploadNotFound, WrongState
from services.gateway.uploads.states import CLOSED, LIVE, UploadStatus


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload`."""

    id: str
    serial: int
    project_id: str
    model_id: str
    model_name: str
    model_version: str
    kind: str
    status: UploadStatus
    chunk_size_bytes: int
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
) -> None:
    """Open a session."""
    await tx.execute(
        """
        INSERT INTO upload (id, project_id, model_id, model_name, model_version, kind, chunk_size_bytes, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        upload_id,
        project_id,
        model_id,
        model_name,
        model_version,
        kind,
        chunk_size_bytes,
        expires_at,
    )


async def get(tx: Tx, project_id: str, upload_id: str) -> Upload:
    """The session, of this project only. Raises: UploadNotFound."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 AND project_id = $2", upload_id, project_id)
    if row is None:
        raise UploadNotFound()
    return Upload(**row)


async def lock(tx: Tx, upload_id: str) -> Upload:
    """The session, to be moved by this transaction alone. Raises: UploadNotFound."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 FOR UPDATE", upload_id)
    if row is None:
        raise UploadNotFound()
    return Upload(**row)


async def hold_open(tx: Tx, upload_id: str) -> None:
    """Keep the session open until this transaction ends; many may hold it at once, and extend it meanwhile.

    Whoever ends a session takes `lock` first, which waits for them.

    Raises: UploadNotFound; what `why_closed` says, if it is not open.
    """
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE id = $1 FOR KEY SHARE", upload_id)
    if row is None:
        raise UploadNotFound()
    require_open(Upload(**row))


def require_open(upload: Upload) -> None:
    """Raises: what `why_closed` says, unless bytes can still be sent."""
    if upload.status != "open":
        raise why_closed(upload)


def why_closed(upload: Upload) -> SlipwayError:
    """Why nothing more can be done with the session: the reason of its failure, or its state."""
    if upload.status == "failed" and upload.error:
        return Rejected(
            upload.error["message"],
            code=upload.error["code"],
            details={"finding": upload.error.get("finding")},
            retryable=False,
        )
    return WrongState(CLOSED[upload.status], retryable=False)


async def move(
    tx: Tx,
    upload_id: str,
    to: UploadStatus,
    *,
    only_from: tuple[UploadStatus, ...] = LIVE,
    error: dict[str, Any] | None = None,
) -> bool:
    """Move the session; False if it is in none of the states `only_from`: of two racing callers, one wins."""
    moved = await tx.fetchval(
        """
        UPDATE upload
           SET status = $2::text, error = $4,
               processing_at = CASE $2::text WHEN 'processing' THEN now() WHEN 'open' THEN NULL ELSE processing_at END,
               ended_at = CASE WHEN $2::text NOT IN ('open', 'processing') THEN now() END,
               -- a session that is opened again has as long as it had when it was completed
               expires_at = CASE $2::text WHEN 'open' THEN expires_at + (now() - coalesce(processing_at, now()))
                                    ELSE expires_at END
         WHERE id = $1 AND status = ANY ($3) RETURNING id
        """,
        upload_id,
        to,
        list(only_from),
        error,
    )
    return moved is not None


async def expired(tx: Tx, now: datetime, limit: int = 100) -> list[Upload]:
    """Sessions past their time, locked; those that another transaction is moving are left to it."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload WHERE status = 'open' AND expires_at < $1
         ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        now,
        limit,
    )
    return [Upload(**row) for row in rows]


async def stuck(tx: Tx, before: datetime, limit: int = 100) -> list[Upload]:
    """Sessions that have been processing since `before`, locked; those that another transaction moves stay its own."""
    rows = await tx.fetch(
        f"""
        SELECT {_UPLOAD} FROM upload WHERE status = 'processing' AND coalesce(processing_at, expires_at) < $1
         ORDER BY coalesce(processing_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        before,
        limit,
    )
    return [Upload(**row) for row in rows]


async def prune(tx: Tx, before: datetime, limit: int = 20) -> int:
    """Forget the parts and files of sessions that ended before; how many sessions, `limit` at most.

    The session stays, and of an archive its stream: what `complete` answered is answered again.
    """
    rows = await tx.fetch(
        """
        SELECT id FROM upload
         WHERE NOT pruned AND status IN ('completed', 'failed', 'aborted', 'expired')
           AND coalesce(ended_at, expires_at) < $1
         ORDER BY coalesce(ended_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        before,
        limit,
    )
    ended = [row["id"] for row in rows]
    if not ended:
        return 0
    await tx.execute(
        "DELETE FROM upload_part WHERE stream_id IN (SELECT id FROM upload_stream WHERE upload_id = ANY ($1))", ended
    )
    await tx.execute("DELETE FROM upload_stream WHERE upload_id = ANY ($1) AND format IN ('raw', 'object')", ended)
    await tx.execute("DELETE FROM upload_file WHERE upload_id = ANY ($1)", ended)
    await tx.execute("UPDATE upload SET pruned = true WHERE id = ANY ($1)", ended)
    return len(ended)


async def page(
    tx: Tx, project_id: str, *, status: str | None, model_name: str | None, after: str | None, limit: int
) -> list[Upload]:
    """Up to `limit` sessions of the project, newest first, after the session `after`."""
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
                               WHERE f.project_id = b.project_id AND f.sha256 = b.sha256 AND u.status = 'completed'
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
        "SELECT model_id, id FROM upload WHERE model_id = ANY ($1) AND status = 'completed'", model_ids
    )
    return {row["model_id"]: row["id"] for row in rows}


async def live_among(tx: Tx, upload_ids: list[str]) -> set[str]:
    """Which of these sessions may still be writing."""
    rows = await tx.fetch("SELECT id FROM upload WHERE id = ANY ($1) AND status = ANY ($2)", upload_ids, list(LIVE))
    return {row["id"] for row in rows}
