"""Statements on `upload_opening`: the response of each Idempotency-Key, for a day."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `upload_opening`."""

    body_sha256: str
    answer: dict[str, Any] | None
    created_at: datetime


_OPENING = columns(Opening)


async def claim(tx: Tx, project_id: str, key: str, body_sha256: str, expired_before: datetime) -> bool:
    """Claim a key; False if it is taken. A request with the same key waits here for the first one's transaction."""
    claimed = await tx.fetchval(
        """
        INSERT INTO upload_opening AS o (project_id, idempotency_key, body_sha256) VALUES ($1, $2, $3)
        ON CONFLICT (project_id, idempotency_key) DO UPDATE
           SET body_sha256 = $3, answer = NULL, created_at = now()
         WHERE o.created_at < $4
        RETURNING true
        """,
        project_id,
        key,
        body_sha256,
        expired_before,
    )
    return claimed is not None


async def get(tx: Tx, project_id: str, key: str) -> Opening | None:
    """The row of a key."""
    row = await tx.fetchrow(
        f"SELECT {_OPENING} FROM upload_opening WHERE project_id = $1 AND idempotency_key = $2", project_id, key
    )
    return None if row is None else Opening(**row)


async def record(tx: Tx, project_id: str, key: str, answer: msgspec.Struct) -> None:
    """Keep the response of a claimed key."""
    await tx.execute(
        "UPDATE upload_opening SET answer = $3 WHERE project_id = $1 AND idempotency_key = $2", project_id, key, answer
    )


async def prune(tx: Tx, before: datetime, limit: int = 1000) -> None:
    """Delete up to `limit` keys that were claimed before `before`."""
    await tx.execute(
        """
        DELETE FROM upload_opening
         WHERE (project_id, idempotency_key) IN (SELECT project_id, idempotency_key FROM upload_opening
                                                  WHERE created_at < $1 ORDER BY created_at LIMIT $2)
        """,
        before,
        limit,
    )
