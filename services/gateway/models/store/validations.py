"""Statements on `model` about its verdict: asked for, parked, given, given up.

`deadline_at` is when an answer was due; the sweeper asks again once that is `stale_after_s` (a setting) ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.contracts import ModelProperties, Report, ValidationOptions, new_id
from libs.db import Tx, columns
from libs.states import sql_in
from services.gateway.models.states import ACCEPT, ERROR, GIVE_UP, REGISTER, REJECT, RESUME, REVALIDATE, VALIDATING
from services.gateway.models.store.models import NOT_DELETED, VersionRow


class CheckableRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that say whether it can be checked anew."""

    id: str
    project_id: str
    status: str  # a ModelStatus, or one that only the next release knows
    status_reason: str | None
    status_before_missing: str | None
    file_count: int


class ValidationRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` with which its verdict is asked for."""

    id: str
    project_id: str
    validation_id: str
    asked: int  # how often, counting this time
    validation_options: dict[str, Any] | None = None  # libs.contracts.ValidationOptions


def _unless_edited(column: str, value: str) -> str:
    """Assigns a found value to a column, unless a client has set that."""
    return f"{column} = CASE WHEN {column!r} = ANY (edited) THEN {column} ELSE {value} END"


_CHECKABLE = columns(CheckableRow)
_VALIDATION = columns(ValidationRow)
_VERSION = columns(VersionRow)
_UNANSWERED = f"status = {VALIDATING!r} AND coalesce(validating_since, updated_at) < $1 AND asked >= $2"
_PROPERTIES = ModelProperties.__struct_fields__
_SET_PROPERTIES = ", ".join(_unless_edited(name, f"${number}") for number, name in enumerate(_PROPERTIES, start=11))


async def register(
    tx: Tx,
    model_id: str,
    *,
    validation_id: str,
    size_bytes: int,
    file_count: int,
    at: datetime,
) -> None:
    """REGISTER at `at`: the model waits for the verdict on `validation_id`, which the caller asks for."""
    await tx.execute(
        f"""
        UPDATE model
           SET status = {REGISTER.target!r}, validation_id = $2, size_bytes = $3, file_count = $4,
               validating_since = $5, deadline_at = $5, asked = 1, updated_at = now()
         WHERE id = $1 AND status {sql_in(REGISTER.sources)}
        """,
        model_id,
        validation_id,
        size_bytes,
        file_count,
        at,
    )


async def question(tx: Tx, model_id: str, project_id: str) -> ValidationRow:
    """A new question about a model, with the options that its client has set."""
    options = await tx.fetchval("SELECT validation_options FROM model WHERE id = $1", model_id)
    return ValidationRow(
        id=model_id, project_id=project_id, validation_id=new_id(), asked=1, validation_options=options
    )


async def set_options(tx: Tx, model_id: str, options: ValidationOptions) -> None:
    """Set how the model is checked from the next question on."""
    await tx.execute("UPDATE model SET validation_options = $2 WHERE id = $1", model_id, options)


async def ask_anew(tx: Tx, model_id: str, *, validation_id: str, at: datetime) -> None:
    """The verdict that a model waits for is now that on `validation_id`, which the caller asks for at `at`."""
    await tx.execute(
        f"""
        UPDATE model
           SET validation_id = $2, validating_since = $3, deadline_at = $3, asked = 1, parked_since = NULL,
               status_reason = NULL, updated_at = now()
         WHERE id = $1 AND status = {VALIDATING!r}
        """,
        model_id,
        validation_id,
        at,
    )


async def lock(tx: Tx, model_id: str) -> CheckableRow | None:
    """What decides whether a model can be checked anew, locked; None for one that is deleted."""
    row = await tx.fetchrow(
        f"SELECT {_CHECKABLE} FROM model WHERE id = $1 AND {NOT_DELETED} FOR NO KEY UPDATE", model_id
    )
    return None if row is None else CheckableRow(**row)


async def revalidate(tx: Tx, model_id: str, *, validation_id: str, at: datetime) -> None:
    """REVALIDATE at `at`: the model waits for the verdict on `validation_id`; its report stays until that comes.

    Nothing for a model that lacks files.
    """
    await tx.execute(
        f"""
        UPDATE model
           SET status = {REVALIDATE.target!r}, status_reason = NULL, validation_id = $2, validating_since = $3,
               deadline_at = $3, asked = 1, parked_since = NULL, revalidating = true, updated_at = now()
         WHERE id = $1 AND status {sql_in(REVALIDATE.sources)} AND status_before_missing IS NULL
        """,
        model_id,
        validation_id,
        at,
    )


async def settle(
    tx: Tx, model_id: str, validation_id: str, report: Report, *, reason: str | None, at: datetime
) -> VersionRow | None:
    """ACCEPT, or REJECT where there is a `reason`; None if the model does not wait for this verdict."""
    found = report.metadata
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET status = CASE WHEN $3::text IS NULL THEN {ACCEPT.target!r} ELSE {REJECT.target!r} END,
               status_reason = $3, report = $4, validated_at = $5, deadline_at = NULL, parked_since = NULL,
               revalidating = false,
               updated_at = now(), {_unless_edited("license", "coalesce(license, $6)")},
               {_unless_edited("workload_type", "$7")}, memory = $8, deployable = $9, deployable_reason = $10,
               {_SET_PROPERTIES}
         WHERE id = $1 AND validation_id = $2 AND status {sql_in(ACCEPT.sources)}
        RETURNING {_VERSION}
        """,
        model_id,
        validation_id,
        reason,
        msgspec.to_builtins(report),
        at,
        found.license,
        found.workload_type,
        msgspec.to_builtins(found.memory),
        found.deployable and reason is None,
        found.deployable_reason or reason,
        *(getattr(found, name) for name in _PROPERTIES),
    )
    return None if row is None else VersionRow(**row)


async def park(
    tx: Tx,
    model_id: str,
    reason: str,
    *,
    at: datetime,
    validation_id: str | None = None,
    due_at: datetime | None = None,
) -> None:
    """Record why a model has no verdict yet; the next answer is due at `due_at`.

    With `validation_id`, only if that is the verdict which the model waits for.
    """
    await tx.execute(
        f"""
        UPDATE model
           SET status_reason = $2, parked_since = coalesce(parked_since, $3), updated_at = now(),
               deadline_at = greatest(deadline_at, $5)
         WHERE id = $1 AND status = {VALIDATING!r} AND ($4::text IS NULL OR validation_id = $4)
        """,
        model_id,
        reason,
        at,
        validation_id,
        due_at,
    )


async def overdue(tx: Tx, before: datetime, pauses: Sequence[timedelta], limit: int) -> list[ValidationRow]:
    """Models whose verdict was due before `before`; it is now due after the next of `pauses`, from there.

    Rows that another transaction has locked are left to it.
    """
    rows = await tx.fetch(
        f"""
        UPDATE model
           SET deadline_at = $1::timestamptz + ($2::interval[])[least(asked, cardinality($2))], asked = asked + 1
         WHERE id IN (SELECT id FROM model WHERE status = {VALIDATING!r} AND deadline_at < $1
                       ORDER BY deadline_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING {_VALIDATION}
        """,
        before,
        pauses,
        limit,
    )
    return [ValidationRow(**row) for row in rows]


async def resume(tx: Tx, model_id: str, at: datetime) -> ValidationRow | None:
    """RESUME: count one more question; a model whose verdict was given up begins to wait anew.

    None if the model waits for no verdict.
    """
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET deadline_at = $2, asked = asked + 1, updated_at = now(),
               validating_since = CASE WHEN status = {ERROR!r} THEN $2 ELSE validating_since END,
               status_reason = CASE WHEN status = {ERROR!r} THEN NULL ELSE status_reason END, status = {RESUME.target!r}
         WHERE id = $1 AND validation_id IS NOT NULL
           AND status {sql_in(RESUME.sources)}
           AND (status = {VALIDATING!r}
                OR (status = {ERROR!r} AND (validated_at IS NULL OR revalidating) AND status_before_missing IS NULL))
        RETURNING {_VALIDATION}
        """,
        model_id,
        at,
    )
    return None if row is None else ValidationRow(**row)


async def unanswered(tx: Tx, waiting_since: datetime, asked: int, limit: int) -> list[str]:
    """The ids of up to `limit` models that GIVE_UP may change, the longest waiting first; see `give_up`."""
    rows = await tx.fetch(
        f"""
        SELECT id FROM model WHERE {_UNANSWERED}
         ORDER BY coalesce(validating_since, updated_at) LIMIT $3
        """,
        waiting_since,
        asked,
        limit,
    )
    return [row["id"] for row in rows]


async def give_up(
    tx: Tx, model_ids: Sequence[str], waiting_since: datetime, asked: int, why: str, otherwise: str
) -> list[VersionRow]:
    """GIVE_UP those of the models that have waited since before `waiting_since`, and were asked about `asked` times.

    The reason of each is `why`, with the last reason for waiting in the place of "%s", or `otherwise` without one.
    Returns them.
    """
    rows = await tx.fetch(
        f"""
        UPDATE model
           SET status = {GIVE_UP.target!r}, status_reason = format($4, coalesce(status_reason, $5)), deadline_at = NULL,
               parked_since = NULL, updated_at = now()
         WHERE {_UNANSWERED} AND id = ANY ($3)
        RETURNING {_VERSION}
        """,
        waiting_since,
        asked,
        model_ids,
        why,
        otherwise,
    )
    return [VersionRow(**row) for row in rows]
