"""Statements on projects that are being deleted, and on all rows of them; one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from libs.db import Tx
from libs.states import sql_in
from services.gateway.uploads.states import LIVE

# What else names a project, in the order in which it may go; the rows of `model`, `blob` and `upload` go by transitions
TABLES: Final = (
    "upload_opening",
    "project_feature",
    "secret",
    "api_key",
    "member",
    "project_usage_change",
    "project_usage",
)
OF_UPLOADS: Final = ("upload_source",)  # go with the upload, and have the project beside
OF_MODELS: Final = ("model_file",)

# In an order, so that an index is asked: by statistics that are old, a project may seem to have rows everywhere
_EMPTY: Final = """(SELECT serial FROM model WHERE project_id = $1 ORDER BY serial DESC LIMIT 1) IS NULL
           AND (SELECT sha256 FROM blob WHERE project_id = $1 ORDER BY sha256 LIMIT 1) IS NULL"""


async def begin(tx: Tx, project_id: str) -> None:
    """Begin the deletion of a project, and revoke it; a second call changes nothing."""
    await tx.execute(
        """
        UPDATE project SET deleting_at = now(), revoked_at = coalesce(revoked_at, now())
         WHERE id = $1 AND deleting_at IS NULL
        """,
        project_id,
    )


async def under_way(tx: Tx) -> list[str]:
    """The projects that are being deleted, the longest first."""
    rows = await tx.fetch(
        "SELECT id FROM project WHERE deleting_at IS NOT NULL AND deleted_at IS NULL ORDER BY deleting_at"
    )
    return [row["id"] for row in rows]


async def live_uploads(tx: Tx, project_id: str, limit: int) -> list[str]:
    """Up to `limit` uploads of a project that have not ended."""
    rows = await tx.fetch(
        f"SELECT id FROM upload WHERE project_id = $1 AND status {sql_in(LIVE)} LIMIT $2", project_id, limit
    )
    return [row["id"] for row in rows]


async def unused_objects(tx: Tx, project_id: str, limit: int) -> list[str]:
    """Delete up to `limit` objects of a project that no model has; returns their keys."""
    rows = await tx.fetch(
        """
        DELETE FROM blob b
         WHERE b.project_id = $1
           AND b.sha256 = ANY (ARRAY(SELECT sha256 FROM blob WHERE project_id = $1 ORDER BY sha256 LIMIT $2 FOR UPDATE))
           AND NOT EXISTS (SELECT FROM model_file f WHERE f.project_id = b.project_id AND f.sha256 = b.sha256)
        RETURNING b.key
        """,
        project_id,
        limit,
    )
    return [row["key"] for row in rows]


async def ask(tx: Tx, project_id: str, now: datetime, pauses: Sequence[timedelta]) -> int | None:
    """How often lifecycle has been asked to forget the project, with this time.

    None if it is not to be asked now: not before its deadline, nor once it has answered, nor while the registry has
    something of the project.
    """
    asks: int | None = await tx.fetchval(
        f"""
        UPDATE project
           SET purge_asks = purge_asks + 1,
               purge_due_at = $2::timestamptz + ($3::interval[])[least(purge_asks + 1, cardinality($3::interval[]))]
         WHERE id = $1 AND deleting_at IS NOT NULL AND purged_at IS NULL
           AND (purge_due_at IS NULL OR purge_due_at <= $2)
           AND NOT EXISTS (SELECT FROM upload WHERE project_id = $1 AND status {sql_in(LIVE)})
           AND {_EMPTY}
        RETURNING purge_asks
        """,
        project_id,
        now,
        list(pauses),
    )
    return asks


async def purged(tx: Tx, project_id: str) -> None:
    """Record that storage has nothing of a project that is being deleted."""
    await tx.execute(
        """
        UPDATE project SET purged_at = now(), purge_due_at = NULL
         WHERE id = $1 AND deleting_at IS NOT NULL AND purged_at IS NULL
        """,
        project_id,
    )


async def purge_again(tx: Tx, project_id: str) -> None:
    """Something of a project was found after lifecycle had been asked: it is asked anew."""
    await tx.execute(
        """
        UPDATE project SET purged_at = NULL, purge_due_at = NULL
         WHERE id = $1 AND deleted_at IS NULL AND (purged_at IS NOT NULL OR purge_due_at IS NOT NULL)
        """,
        project_id,
    )


async def is_purged(tx: Tx, project_id: str) -> bool:
    """Whether storage has nothing of the project any more."""
    return bool(await tx.fetchval("SELECT purged_at IS NOT NULL FROM project WHERE id = $1", project_id))


async def ended_uploads(tx: Tx, project_id: str, limit: int) -> list[str]:
    """Up to `limit` uploads of a project that have ended, locked; rows that others have locked are left out."""
    rows = await tx.fetch(
        f"""
        SELECT id FROM upload WHERE project_id = $1 AND NOT status {sql_in(LIVE)}
         ORDER BY serial DESC LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        project_id,
        limit,
    )
    return [row["id"] for row in rows]


async def delete_streams(tx: Tx, upload_ids: Sequence[str]) -> None:
    """All streams of these uploads, whose parts are gone."""
    await tx.execute("DELETE FROM upload_stream WHERE upload_id = ANY ($1)", upload_ids)


async def delete_rows(tx: Tx, table: str, project_id: str, limit: int) -> int:
    """Delete up to `limit` rows of a project from one of TABLES. Returns how many."""
    tag: str = await tx.execute(
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE project_id = $1 LIMIT $2))",
        project_id,
        limit,
    )
    return int(tag.split()[-1])


async def delete_windows(tx: Tx, project_id: str) -> None:
    """The counts of requests of a project and its keys."""
    await tx.execute(
        """
        DELETE FROM request_window
         WHERE subject = ANY (ARRAY(SELECT id FROM api_key WHERE project_id = $1 UNION ALL SELECT $1))
        """,
        project_id,
    )


async def end(tx: Tx, project_id: str) -> bool:
    """End the deletion of a project, of which storage has nothing; False if the registry has something of it."""
    ended = await tx.fetchval(
        f"""
        UPDATE project SET deleted_at = now(), limits = '{{}}'
         WHERE id = $1 AND purged_at IS NOT NULL AND deleted_at IS NULL
           AND (SELECT serial FROM upload WHERE project_id = $1 ORDER BY serial DESC LIMIT 1) IS NULL
           AND {_EMPTY}
        RETURNING id
        """,
        project_id,
    )
    return ended is not None
