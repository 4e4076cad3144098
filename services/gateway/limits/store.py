"""Statements on limits, on what projects use, and on the requests of the current second; one function a statement."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.db import Tx
from libs.errors import NotFound
from libs.states import sql_in
from services.gateway.limits.terms import OwnLimits
from services.gateway.models.states import DELETING, VALIDATING
from services.gateway.uploads.states import LIVE

LATE_S = 5  # a second that is further ahead than this is of another clock


class Window(msgspec.Struct, frozen=True):
    """A second of `request_window`, after requests were taken from it."""

    taken: int
    ends_in_s: float


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a project uses, at one moment."""

    stored_bytes: int
    reserved_bytes: int  # for uploads that have not ended
    objects: int
    models: int
    open_uploads: int
    open_uploads_of_key: int


# Limits


async def limits_of_project(tx: Tx, project_id: str) -> OwnLimits:
    """The project's own limits. Raises: NotFound."""
    return _there(
        await tx.fetchval("SELECT limits FROM project WHERE id = $1 AND deleted_at IS NULL", project_id),
        "project",
        project_id,
    )


async def limits_of_key(tx: Tx, project_id: str, key_id: str) -> OwnLimits:
    """The limits of a key of the project. Raises: NotFound."""
    found = await tx.fetchval("SELECT limits FROM api_key WHERE project_id = $1 AND id = $2", project_id, key_id)
    return _there(found, "key", key_id)


async def set_limits_of_project(tx: Tx, project_id: str, changed: OwnLimits, unset: Sequence[str]) -> OwnLimits:
    """Set some limits and take some away; returns those that the project now has. Raises: NotFound."""
    now = await tx.fetchval(
        """
        UPDATE project SET limits = (limits || $2) - $3::text[] WHERE id = $1 AND deleted_at IS NULL RETURNING limits
        """,
        project_id,
        changed,
        list(unset),
    )
    return _there(now, "project", project_id)


async def set_limits_of_key(
    tx: Tx, project_id: str, key_id: str, changed: OwnLimits, unset: Sequence[str]
) -> OwnLimits:
    """Set some limits and take some away; returns those that the key now has. Raises: NotFound."""
    now = await tx.fetchval(
        "UPDATE api_key SET limits = (limits || $3) - $4::text[] WHERE project_id = $1 AND id = $2 RETURNING limits",
        project_id,
        key_id,
        changed,
        list(unset),
    )
    return _there(now, "key", key_id)


def _there(limits: OwnLimits | None, what: str, name: str) -> OwnLimits:
    if limits is None:
        raise NotFound(f"There is no {what} '{name}'.")
    return limits


# Use


async def take_turn(tx: Tx, project_id: str) -> None:
    """Make those who compare the use of a project with its limits take turns, until their transactions end.

    To be called before any other lock, but that of an Idempotency-Key.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"limits/{project_id}")


async def use_of(tx: Tx, project_id: str, key_id: str | None = None) -> Use:
    """What a project uses; from one snapshot, so that what moves from reserved to stored counts once."""
    row = await tx.fetchrow(
        f"""
        WITH counted AS (
            SELECT coalesce(sum(stored_bytes), 0)::bigint AS stored_bytes, coalesce(sum(objects), 0)::bigint AS objects,
                   coalesce(sum(models), 0)::bigint AS models
              FROM (SELECT stored_bytes, objects, models FROM project_usage WHERE project_id = $1
                     UNION ALL
                    SELECT stored_bytes, objects, models FROM project_usage_change WHERE project_id = $1) AS every
        ), live AS (
            SELECT coalesce(sum(declared_bytes), 0)::bigint AS reserved_bytes, count(*) AS open_uploads,
                   count(*) FILTER (WHERE key_id = $2) AS open_uploads_of_key
              FROM upload WHERE project_id = $1 AND status {sql_in(LIVE)}
        )
        SELECT stored_bytes, reserved_bytes, objects, models, open_uploads, open_uploads_of_key FROM counted, live
        """,
        project_id,
        key_id,
    )
    return Use(**row)


async def fold(tx: Tx, limit: int) -> int:
    """Add the oldest `limit` changes to the rows of their projects. Returns how many there were."""
    folded: int = await tx.fetchval(
        """
        WITH oldest AS (
            DELETE FROM project_usage_change
             WHERE serial = ANY (ARRAY(SELECT serial FROM project_usage_change ORDER BY serial LIMIT $1
                                          FOR UPDATE SKIP LOCKED))
            RETURNING project_id, stored_bytes, objects, models
        ), folded AS (
            INSERT INTO project_usage AS p (project_id, stored_bytes, objects, models)
            SELECT project_id, sum(stored_bytes), sum(objects), sum(models)
              FROM oldest GROUP BY project_id ORDER BY project_id
            ON CONFLICT (project_id) DO UPDATE
               SET stored_bytes = p.stored_bytes + excluded.stored_bytes, objects = p.objects + excluded.objects,
                   models = p.models + excluded.models
        )
        SELECT count(*) FROM oldest
        """,
        limit,
    )
    return folded


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Models of a project in states that are worth counting."""

    validating: int  # that wait for their verdict
    restorable: int  # that were deleted, and not erased yet
    restorable_bytes: int  # the sum of their sizes; other models may share contents with them


async def models_of(tx: Tx, project_id: str) -> Models:
    """How many models of a project are in these states."""
    row = await tx.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM model WHERE project_id = $1 AND status = {VALIDATING!r}) AS validating,
               count(*) AS restorable, coalesce(sum(size_bytes), 0)::bigint AS restorable_bytes
          FROM model WHERE project_id = $1 AND status = {DELETING!r}
        """,
        project_id,
    )
    return Models(**row)


# Requests


async def take_requests(tx: Tx, subject: str, size: int) -> Window:
    """Take `size` requests from the current second of `subject`; they may be more than its limit has left.

    A statement that had to wait for another one may be of the second before: it then takes from the later one.
    """
    row = await tx.fetchrow(
        """
        INSERT INTO request_window AS w (subject, second, taken)
        VALUES ($1, floor(extract(epoch FROM clock_timestamp())), $2)
        ON CONFLICT (subject) DO UPDATE
           SET second = CASE WHEN w.second BETWEEN excluded.second AND excluded.second + $3
                             THEN w.second ELSE excluded.second END,
               taken = CASE WHEN w.second BETWEEN excluded.second AND excluded.second + $3
                            THEN w.taken + excluded.taken ELSE excluded.taken END
        RETURNING taken, (second + 1 - extract(epoch FROM clock_timestamp()))::float8 AS ends_in_s
        """,
        subject,
        size,
        LATE_S,
    )
    return Window(**row)


async def requests_taken(tx: Tx, subject: str) -> int:
    """How many requests were taken from the current second of `subject`."""
    taken: int | None = await tx.fetchval(
        "SELECT taken FROM request_window WHERE subject = $1 AND second = floor(extract(epoch FROM now()))", subject
    )
    return taken or 0


async def forget_requests(tx: Tx, subject: str) -> None:
    """Remove the row of a subject whose limit has gone."""
    await tx.execute("DELETE FROM request_window WHERE subject = $1", subject)
