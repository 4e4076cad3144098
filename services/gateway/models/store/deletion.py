"""Statements on `model` that delete, restore and erase."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.db import Tx, columns
from libs.states import sql_in
from services.gateway.models.states import ACTIVE, DELETE, DELETING, ERASE, EXPIRE, READY, RESTORE, VALIDATING
from services.gateway.models.store.models import NOT_DELETED, ListedModelRow, VersionRow

# Nothing will heal them: they lack no file, and if they were registered, they have their verdict
_FAILED = f"""status {sql_in(EXPIRE.sources)} AND status_before_missing IS NULL
          AND (validation_id IS NULL OR (validated_at IS NOT NULL AND NOT revalidating))"""


class DeletedRow(VersionRow, frozen=True, kw_only=True):
    """The columns of `model` that say which version was deleted."""

    version: str


class ListedDeletedRow(ListedModelRow, frozen=True, kw_only=True):
    """The columns of `model` that a list of deleted models shows."""

    deleted_at: datetime
    erase_at: datetime


class RestoredRow(DeletedRow, frozen=True, kw_only=True):
    """The columns of `model` that say what has been restored."""

    status: str


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a model that was to be deleted."""

    model_id: str
    version: str
    restorable_until: datetime | None  # None: its upload was not complete, and nothing is left of it


_DELETED = columns(DeletedRow)
_RESTORED = columns(RestoredRow)
_LISTED = columns(ListedDeletedRow)
_VERSION = columns(VersionRow)


async def delete(tx: Tx, model_id: str, *, by: str, at: datetime, erase_at: datetime) -> DeletedRow | None:
    """DELETE, by the key `by`; None if the model is in none of the sources. The caller has taken `lock_name`."""
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET status_before_deleting = CASE status WHEN {ACTIVE!r} THEN {READY!r} ELSE status END,
               status = {DELETE.target!r}, deleted_at = $2, deleted_by = $3, erase_at = $4, is_latest = false,
               is_shared = false, catalog_role = NULL, deadline_at = NULL, parked_since = NULL, updated_at = now()
         WHERE id = $1 AND status {sql_in(DELETE.sources)}
        RETURNING {_DELETED}
        """,
        model_id,
        at,
        by,
        erase_at,
    )
    return None if row is None else DeletedRow(**row)


async def expire_all_of(tx: Tx, project_id: str, now: datetime, limit: int) -> int:
    """DELETE up to `limit` models of a project that is deleted, to be erased at once; also those already deleted.

    Rows that another transaction has locked are left out. Returns how many there were.
    """
    tag: str = await tx.execute(
        f"""
        UPDATE model
           SET status_before_deleting = CASE status WHEN {ACTIVE!r} THEN {READY!r} WHEN {DELETING!r}
                                        THEN status_before_deleting ELSE status END,
               status = {DELETE.target!r}, deleted_at = coalesce(deleted_at, $2), erase_at = $2, is_latest = false,
               is_shared = false, catalog_role = NULL, deadline_at = NULL, parked_since = NULL, updated_at = now()
         WHERE id = ANY (ARRAY(SELECT id FROM model WHERE project_id = $1 AND status {sql_in(DELETE.sources)}
                                ORDER BY serial DESC LIMIT $3 FOR UPDATE SKIP LOCKED))
            OR id = ANY (ARRAY(SELECT id FROM model WHERE project_id = $1 AND status = {DELETING!r} AND erase_at > $2
                                ORDER BY serial DESC LIMIT $3 FOR UPDATE SKIP LOCKED))
        """,
        project_id,
        now,
        limit,
    )
    return int(tag.split()[-1])


async def get(tx: Tx, project_id: str, model_id: str, now: datetime) -> DeletedRow | None:
    """A deleted model of this project that can be restored; None if there is none."""
    row = await tx.fetchrow(
        f"""
        SELECT {_DELETED} FROM model
         WHERE id = $1 AND project_id = $2 AND status = {DELETING!r} AND erase_at > $3
        """,
        model_id,
        project_id,
        now,
    )
    return None if row is None else DeletedRow(**row)


async def taken(tx: Tx, model: DeletedRow) -> str | None:
    """The id of the model that has the version of a deleted one now. The caller has taken `lock_name`."""
    other: str | None = await tx.fetchval(
        f"SELECT id FROM model WHERE project_id = $1 AND name = $2 AND version = $3 AND {NOT_DELETED}",
        model.project_id,
        model.name,
        model.version,
    )
    return other


async def restore(tx: Tx, model_id: str, at: datetime) -> RestoredRow | None:
    """RESTORE; None if the model is not deleted, or its time has passed. A verdict that it waits for is due at once."""
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET status = status_before_deleting, status_before_deleting = NULL, deleted_at = NULL, deleted_by = NULL,
               erase_at = NULL, updated_at = now(),
               deadline_at = CASE status_before_deleting WHEN {VALIDATING!r} THEN $2 END
         WHERE id = $1 AND status {sql_in(RESTORE[0].sources)} AND erase_at > $2
        RETURNING {_RESTORED}
        """,
        model_id,
        at,
    )
    return None if row is None else RestoredRow(**row)


async def page(
    tx: Tx, project_id: str, *, name: str | None = None, after: str | None = None, limit: int, now: datetime
) -> list[ListedDeletedRow]:
    """Up to `limit` models of the project that can be restored, the last uploaded first, after the model `after`."""
    rows = await tx.fetch(
        f"""
        SELECT {_LISTED} FROM model
         WHERE project_id = $1 AND status = {DELETING!r} AND erase_at > $5
           AND ($2::text IS NULL OR name = $2)
           AND ($3::text IS NULL OR serial < (SELECT serial FROM model WHERE id = $3 AND project_id = $1))
         ORDER BY serial DESC LIMIT $4
        """,
        project_id,
        name,
        after,
        limit,
        now,
    )
    return [ListedDeletedRow(**row) for row in rows]


async def having(tx: Tx, project_id: str, contents: Sequence[str]) -> list[str]:
    """The ids of the deleted models that have a file of any of these sha256."""
    rows = await tx.fetch(
        f"""
        SELECT id FROM model
         WHERE id IN (SELECT model_id FROM model_file WHERE project_id = $1 AND sha256 = ANY ($2))
           AND status = {DELETING!r}
         ORDER BY id
        """,
        project_id,
        contents,
    )
    return [row["id"] for row in rows]


async def due(tx: Tx, now: datetime, limit: int) -> list[str]:
    """The ids of up to `limit` deleted models whose time has passed, the longest first."""
    rows = await tx.fetch(
        f"SELECT id FROM model WHERE status = {DELETING!r} AND erase_at <= $1 ORDER BY erase_at LIMIT $2", now, limit
    )
    return [row["id"] for row in rows]


async def failed(tx: Tx, before: datetime, limit: int) -> list[str]:
    """The ids of up to `limit` models that EXPIRE may delete, and that nothing changed since `before`."""
    rows = await tx.fetch(
        f"SELECT id FROM model WHERE {_FAILED} AND updated_at < $1 ORDER BY updated_at LIMIT $2", before, limit
    )
    return [row["id"] for row in rows]


async def erase(tx: Tx, model_ids: Sequence[str], now: datetime) -> list[VersionRow]:
    """ERASE those of the models whose time has passed, with their files. Returns them."""
    rows = await tx.fetch(
        f"""
        DELETE FROM model WHERE id = ANY ($1) AND status {sql_in(ERASE.sources)} AND erase_at <= $2
        RETURNING {_VERSION}
        """,
        model_ids,
        now,
    )
    return [VersionRow(**row) for row in rows]


async def expire(tx: Tx, model_ids: Sequence[str], before: datetime) -> list[VersionRow]:
    """EXPIRE those of the models that nothing changed since `before`, with their files. Returns them."""
    rows = await tx.fetch(
        f"DELETE FROM model WHERE id = ANY ($1) AND {_FAILED} AND updated_at < $2 RETURNING {_VERSION}",
        model_ids,
        before,
    )
    return [VersionRow(**row) for row in rows]
