"""Statements on `model` whose files storage has lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.db import Tx
from libs.states import sql_in
from services.gateway.models.states import FIND_FILES, LOSE_FILES, REPLACE_FILES, VALIDATING


async def lock_having(tx: Tx, project_id: str, contents: Sequence[str]) -> list[str]:
    """Lock the models that have a file of any of these sha256, and LOSE_FILES may change. Returns their ids."""
    rows = await tx.fetch(
        f"""
        SELECT id FROM model
         WHERE id IN (SELECT model_id FROM model_file WHERE project_id = $1 AND sha256 = ANY ($2))
           AND status {sql_in(LOSE_FILES.sources)}
         ORDER BY id FOR NO KEY UPDATE
        """,
        project_id,
        contents,
    )
    return [row["id"] for row in rows]


async def lose_files(tx: Tx, model_id: str, reason: str) -> None:
    """LOSE_FILES, for `reason`; what the model was before is kept in `status_before_missing`."""
    await tx.execute(
        f"""
        UPDATE model
           SET status_before_missing = coalesce(status_before_missing, status),
               reason_before_missing = CASE WHEN status_before_missing IS NULL THEN status_reason
                                            ELSE reason_before_missing END,
               status = {LOSE_FILES.target!r}, status_reason = $2, deadline_at = NULL, parked_since = NULL,
               updated_at = now()
         WHERE id = $1 AND status {sql_in(LOSE_FILES.sources)}
        """,
        model_id,
        reason,
    )


async def find_files(tx: Tx, model_id: str, at: datetime) -> None:
    """FIND_FILES: the model is what it was before; a verdict that it waited for is asked for by the next sweep."""
    await tx.execute(
        f"""
        UPDATE model
           SET status = status_before_missing, status_reason = reason_before_missing, status_before_missing = NULL,
               reason_before_missing = NULL, updated_at = now(),
               deadline_at = CASE WHEN status_before_missing = {VALIDATING!r} THEN '-infinity'::timestamptz END,
               validating_since = CASE WHEN status_before_missing = {VALIDATING!r} THEN $2 ELSE validating_since END
         WHERE id = $1 AND status {sql_in(FIND_FILES[0].sources)} AND status_before_missing IS NOT NULL
        """,
        model_id,
        at,
    )


async def replace_files(tx: Tx, model_id: str, *, validation_id: str, at: datetime) -> None:
    """REPLACE_FILES: the model waits for the verdict on `validation_id`; what was found before no longer counts."""
    await tx.execute(
        f"""
        UPDATE model
           SET status = {REPLACE_FILES.target!r}, status_reason = NULL, validation_id = $2, validating_since = $3,
               deadline_at = $3, asked = 1, parked_since = NULL, report = NULL, validated_at = NULL,
               revalidating = false, deployable = NULL, deployable_reason = NULL, status_before_missing = NULL,
               reason_before_missing = NULL, updated_at = now()
         WHERE id = $1 AND status {sql_in(REPLACE_FILES.sources)}
        """,
        model_id,
        validation_id,
        at,
    )
