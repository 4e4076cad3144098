"""Statements that remove the rows of uploads that ended long ago.

As long as its model is there, the upload stays, and of an archive its stream: what `complete` answered is answered
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from libs.db import Tx
from libs.states import sql_in
from services.gateway.uploads.states import ENDED


async def ended_before(tx: Tx, before: datetime, limit: int = 20) -> list[str]:
    """Uploads that ended before and still have such rows, locked; rows that others have locked are left out."""
    rows = await tx.fetch(
        f"""
        SELECT id FROM upload
         WHERE NOT pruned AND status {sql_in(ENDED)} AND coalesce(ended_at, expires_at) < $1
         ORDER BY coalesce(ended_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        before,
        limit,
    )
    return [row["id"] for row in rows]


async def delete_parts(tx: Tx, upload_ids: Sequence[str]) -> None:
    """The parts of every stream of these uploads."""
    await tx.execute(
        "DELETE FROM upload_part WHERE stream_id IN (SELECT id FROM upload_stream WHERE upload_id = ANY ($1))",
        upload_ids,
    )


async def delete_streams_of_files(tx: Tx, upload_ids: Sequence[str]) -> None:
    """The streams of single files of these uploads; that of an archive stays."""
    await tx.execute(
        "DELETE FROM upload_stream WHERE upload_id = ANY ($1) AND format IN ('raw', 'object', 'remote', 'staged')",
        upload_ids,
    )


async def delete_files(tx: Tx, upload_ids: Sequence[str]) -> None:
    """The files of these uploads, and with them how they were sent."""
    await tx.execute("DELETE FROM upload_file WHERE upload_id = ANY ($1)", upload_ids)


async def mark(tx: Tx, upload_ids: Sequence[str]) -> None:
    """Nothing but the upload itself is left of these."""
    await tx.execute("UPDATE upload SET pruned = true WHERE id = ANY ($1)", upload_ids)


async def without_model(tx: Tx, upload_ids: Sequence[str]) -> list[str]:
    """Those of these uploads whose model is gone."""
    rows = await tx.fetch(
        """
        SELECT id FROM upload WHERE id = ANY ($1) AND NOT EXISTS (SELECT FROM model WHERE model.id = upload.model_id)
        """,
        upload_ids,
    )
    return [row["id"] for row in rows]


async def pruned_of_models(tx: Tx, model_ids: Sequence[str]) -> list[str]:
    """The uploads of these models of which nothing else is left."""
    rows = await tx.fetch("SELECT id FROM upload WHERE model_id = ANY ($1) AND pruned", model_ids)
    return [row["id"] for row in rows]


async def delete(tx: Tx, upload_ids: Sequence[str]) -> None:
    """These uploads, of which nothing else is left, with the streams of their archives."""
    await tx.execute("DELETE FROM upload_stream WHERE upload_id = ANY ($1)", upload_ids)
    await tx.execute("DELETE FROM upload WHERE id = ANY ($1)", upload_ids)
