"""Statements on `model` whose files storage has lost: 'error' until they are there again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.db import Tx


async def lock_having(tx: Tx, project_id: str, contents: Sequence[str]) -> list[str]:
    """The models that have a file of any of these sha256, to be changed by this transaction alone: their ids."""
    rows = await tx.fetch(
        """
        SELECT id FROM model
         WHERE id IN (SELECT model_id FROM model_file WHERE project_id = $1 AND sha256 = ANY ($2))
           AND status <> 'deleting'
         ORDER BY id FOR NO KEY UPDATE
        """,
        project_id,
        contents,
    )
    return [row["id"] for row in rows]


async def lack(tx: Tx, model_id: str, reason: str) -> None:
    """-> 'error' for the lack of files; what the model was is remembered."""
    await tx.execute(
        """
        UPDATE model
           SET status_before_missing = coalesce(status_before_missing, status),
               reason_before_missing = CASE WHEN status_before_missing IS NULL THEN status_reason
                                            ELSE reason_before_missing END,
               status = 'error', status_reason = $2, deadline_at = NULL, parked_since = NULL, updated_at = now()
         WHERE id = $1
        """,
        model_id,
        reason,
    )


async def restore(tx: Tx, model_id: str, at: datetime) -> None:
    """-> what the model was before files of it went missing; a verdict that it waited for is asked for again."""
    await tx.execute(
        """
        UPDATE model
           SET status = status_before_missing, status_reason = reason_before_missing, status_before_missing = NULL,
               reason_before_missing = NULL, updated_at = now(),
               deadline_at = CASE WHEN status_before_missing = 'validating' THEN $2::timestamptz END,
               validating_since = CASE WHEN status_before_missing = 'validating' THEN $2 ELSE validating_since END
         WHERE id = $1 AND status_before_missing IS NOT NULL
        """,
        model_id,
        at,
    )
