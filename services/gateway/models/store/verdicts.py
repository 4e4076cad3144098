"""Statements on `model` while it waits for its verdict: asked for, parked, given, given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from libs.contracts import Report
from libs.db import Tx, columns
from services.gateway.models.store.models import Version


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose verdict is to be asked for."""

    id: str
    project_id: str
    validation_id: str
    asked: int  # how often, this time included


_WAITING = columns(Waiting)
_VERSION = columns(Version)


async def expect(
    tx: Tx,
    model_id: str,
    *,
    validation_id: str,
    size_bytes: int,
    file_count: int,
    at: datetime,
    deadline_at: datetime,
) -> None:
    """'processing' -> 'validating' at `at`, until the verdict on `validation_id`, asked for again at `deadline_at`."""
    await tx.execute(
        """
        UPDATE model
           SET status = 'validating', validation_id = $2, size_bytes = $3, file_count = $4, validating_since = $5,
               deadline_at = $6, asked = 1, updated_at = now()
         WHERE id = $1 AND status = 'processing'
        """,
        model_id,
        validation_id,
        size_bytes,
        file_count,
        at,
        deadline_at,
    )


async def expect_another(tx: Tx, model_id: str, *, validation_id: str, at: datetime, deadline_at: datetime) -> None:
    """-> 'validating': what was found before no longer counts."""
    await tx.execute(
        """
        UPDATE model
           SET status = 'validating', status_reason = NULL, validation_id = $2, validating_since = $3, deadline_at = $4,
               asked = 1, parked_since = NULL, report = NULL, validated_at = NULL, deployable = NULL,
               deployable_reason = NULL, status_before_missing = NULL, reason_before_missing = NULL, updated_at = now()
         WHERE id = $1
        """,
        model_id,
        validation_id,
        at,
        deadline_at,
    )


async def record(
    tx: Tx, model_id: str, validation_id: str, report: Report, *, reason: str | None, at: datetime
) -> Version | None:
    """'validating' -> 'ready', or 'error' where there is a `reason`; None if this verdict is not awaited."""
    found = report.metadata
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET status = CASE WHEN $3::text IS NULL THEN 'ready' ELSE 'error' END, status_reason = $3, report = $4,
               validated_at = $5, deadline_at = NULL, parked_since = NULL, updated_at = now(),
               license = coalesce(license, $6), format = $7, architecture = $8, quantization = $9,
               context_length = $10, parameter_count = $11, hidden_size = $12, num_layers = $13, vocab_size = $14,
               dtype = $15, workload_type = $16, memory = $17, deployable = $18, deployable_reason = $19
         WHERE id = $1 AND validation_id = $2 AND status = 'validating'
        RETURNING {_VERSION}
        """,
        model_id,
        validation_id,
        reason,
        msgspec.to_builtins(report),
        at,
        found.license,
        found.format,
        found.architecture,
        found.quantization,
        found.context_length,
        found.parameter_count,
        found.hidden_size,
        found.num_layers,
        found.vocab_size,
        found.dtype,
        found.workload_type,
        msgspec.to_builtins(found.memory),
        found.deployable and reason is None,
        found.deployable_reason or reason,
    )
    return None if row is None else Version(**row)


async def park(
    tx: Tx,
    model_id: str,
    reason: str,
    *,
    at: datetime,
    validation_id: str | None = None,
    ask_at: datetime | None = None,
) -> None:
    """Show why a model stays 'validating'; it is asked for again not before `ask_at`.

    With `validation_id`, only if it is that verdict which is awaited.
    """
    await tx.execute(
        """
        UPDATE model
           SET status_reason = $2, parked_since = coalesce(parked_since, $3), updated_at = now(),
               deadline_at = greatest(deadline_at, $5)
         WHERE id = $1 AND status = 'validating' AND ($4::text IS NULL OR validation_id = $4)
        """,
        model_id,
        reason,
        at,
        validation_id,
        ask_at,
    )


async def overdue(tx: Tx, now: datetime, pauses: Sequence[timedelta], limit: int) -> list[Waiting]:
    """Models whose verdict should have come by now; the deadline of each is put off by the pause that is its turn."""
    rows = await tx.fetch(
        f"""
        UPDATE model
           SET deadline_at = $1::timestamptz + ($2::interval[])[least(asked, cardinality($2))], asked = asked + 1
         WHERE id IN (SELECT id FROM model WHERE status = 'validating' AND deadline_at < $1
                       ORDER BY deadline_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING {_WAITING}
        """,
        now,
        pauses,
        limit,
    )
    return [Waiting(**row) for row in rows]


async def ask_now(tx: Tx, model_id: str, now: datetime, deadline_at: datetime) -> Waiting | None:
    """Count one more question about a model that is 'validating', or for which it was given up, which begins anew.

    None if it waits for no verdict.
    """
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET deadline_at = $3, asked = asked + 1, updated_at = now(),
               validating_since = CASE WHEN status = 'error' THEN $2 ELSE validating_since END,
               status_reason = CASE WHEN status = 'error' THEN NULL ELSE status_reason END, status = 'validating'
         WHERE id = $1 AND validation_id IS NOT NULL
           AND (status = 'validating'
                OR (status = 'error' AND validated_at IS NULL AND status_before_missing IS NULL))
        RETURNING {_WAITING}
        """,
        model_id,
        now,
        deadline_at,
    )
    return None if row is None else Waiting(**row)


async def give_up(tx: Tx, waiting_since: datetime, asked: int, why: str, otherwise: str, limit: int) -> list[str]:
    """'validating' -> 'error' for models that have waited since before `waiting_since` and were asked for that often.

    The reason is `why` with the last that was said of it in the place of "%s", or `otherwise` if nothing ever was.
    Returns their ids.
    """
    rows = await tx.fetch(
        """
        UPDATE model
           SET status = 'error', status_reason = format($3, coalesce(status_reason, $4)), deadline_at = NULL,
               parked_since = NULL, updated_at = now()
         WHERE id IN (SELECT id FROM model
                       WHERE status = 'validating' AND coalesce(validating_since, updated_at) < $1 AND asked >= $2
                       ORDER BY coalesce(validating_since, updated_at) LIMIT $5 FOR UPDATE SKIP LOCKED)
        RETURNING id
        """,
        waiting_since,
        asked,
        why,
        otherwise,
        limit,
    )
    return [row["id"] for row in rows]
