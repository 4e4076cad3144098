"""Statements on `model`: one version of a named model each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from libs.contracts import Report, new_id
from libs.db import Tx, columns
from libs.errors import Conflict, ModelNotFound
from services.gateway.models.versions import next_version


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `model`: one version of a named model."""

    id: str
    serial: int
    project_id: str
    name: str
    version: str
    is_latest: bool
    status: str
    status_reason: str | None
    size_bytes: int
    file_count: int
    description: str | None
    license: str | None
    format: str | None
    architecture: str | None
    quantization: str | None
    context_length: int | None
    parameter_count: int | None
    hidden_size: int | None
    num_layers: int | None
    vocab_size: int | None
    dtype: str | None
    workload_type: str
    memory: dict[str, Any] | None
    deployable: bool | None
    deployable_reason: str | None
    validation_id: str | None
    report: dict[str, Any] | None
    validated_at: datetime | None
    is_shared: bool
    catalog_role: str | None
    deadline_at: datetime | None
    created_at: datetime
    updated_at: datetime


_MODEL = columns(Model)


async def create(tx: Tx, project_id: str, name: str, version: str | None) -> tuple[str, str]:
    """A new version of `name`, in 'uploading'; the first of its name is the latest at once.

    Two uploads of one name take turns, so that each gets a version of its own.
    Returns: (model id, version). Raises: Conflict if the version exists.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{project_id}/{name}")
    existing = await tx.fetch("SELECT version FROM model WHERE project_id = $1 AND name = $2", project_id, name)
    taken = {row["version"] for row in existing}
    chosen = version or next_version(taken)
    if chosen in taken:
        raise Conflict(
            f"Version {chosen} of model {name!r} exists; give another 'version', or none for the next.",
            param="version",
            retryable=False,
        )
    model_id = new_id()
    await tx.execute(
        "INSERT INTO model (id, project_id, name, version, is_latest) VALUES ($1, $2, $3, $4, $5)",
        model_id,
        project_id,
        name,
        chosen,
        not taken,
    )
    return model_id, chosen


async def lock_name(tx: Tx, model_id: str) -> None:
    """Versions of one name take turns; to be called before any of their rows is locked."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(project_id || '/' || name, 0)) FROM model WHERE id = $1",
        model_id,
    )


async def discard(tx: Tx, model_id: str) -> None:
    """Remove the row of a model whose upload was aborted; the newest remaining version becomes the latest."""
    await lock_name(tx, model_id)
    row = await tx.fetchrow(
        """
        DELETE FROM model WHERE id = $1 AND status IN ('uploading', 'processing')
        RETURNING project_id, name, is_latest
        """,
        model_id,
    )
    if row is not None and row["is_latest"]:
        await tx.execute(
            """
            UPDATE model SET is_latest = true
             WHERE id = (SELECT id FROM model WHERE project_id = $1 AND name = $2
                          ORDER BY (status IN ('ready', 'active')) DESC, serial DESC LIMIT 1)
            """,
            row["project_id"],
            row["name"],
        )


async def process(tx: Tx, model_id: str) -> None:
    """Everything has been sent: 'uploading' -> 'processing'."""
    await tx.execute(
        "UPDATE model SET status = 'processing', updated_at = now() WHERE id = $1 AND status = 'uploading'", model_id
    )


async def reopen(tx: Tx, model_id: str) -> None:
    """'processing' -> 'uploading': something of it is to be sent again."""
    await tx.execute(
        "UPDATE model SET status = 'uploading', updated_at = now() WHERE id = $1 AND status = 'processing'", model_id
    )


async def fail(tx: Tx, model_id: str, reason: str) -> bool:
    """-> 'error' with its reason, from any state that waits for something; False if it was in none."""
    failed = await tx.fetchval(
        """
        UPDATE model SET status = 'error', status_reason = $2, deadline_at = NULL, updated_at = now()
         WHERE id = $1 AND status IN ('uploading', 'processing', 'validating') RETURNING id
        """,
        model_id,
        reason,
    )
    return failed is not None


async def await_validation(
    tx: Tx, model_id: str, *, validation_id: str, size_bytes: int, file_count: int, deadline_at: datetime
) -> None:
    """'processing' -> 'validating', until the verdict on `validation_id`, asked for again at `deadline_at`."""
    await tx.execute(
        """
        UPDATE model
           SET status = 'validating', validation_id = $2, size_bytes = $3, file_count = $4, deadline_at = $5,
               updated_at = now()
         WHERE id = $1 AND status = 'processing'
        """,
        model_id,
        validation_id,
        size_bytes,
        file_count,
        deadline_at,
    )


async def record_verdict(
    tx: Tx, model_id: str, validation_id: str, report: Report, *, reason: str | None, at: datetime
) -> Model | None:
    """'validating' -> 'ready', or 'error' where there is a `reason`; None if this verdict is not awaited."""
    found = report.metadata
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET status = CASE WHEN $3::text IS NULL THEN 'ready' ELSE 'error' END, status_reason = $3, report = $4,
               validated_at = $5, deadline_at = NULL, updated_at = now(),
               license = coalesce(license, $6), format = $7, architecture = $8, quantization = $9,
               context_length = $10, parameter_count = $11, hidden_size = $12, num_layers = $13, vocab_size = $14,
               dtype = $15, workload_type = $16, memory = $17, deployable = $18, deployable_reason = $19
         WHERE id = $1 AND validation_id = $2 AND status = 'validating'
        RETURNING {_MODEL}
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
    return None if row is None else Model(**row)


async def become_latest(tx: Tx, model: Model) -> None:
    """Move `is_latest` to a version that has become ready, unless a newer one that is ready holds it.

    The caller has taken `lock_name`.
    """
    holder = await tx.fetchrow(
        "SELECT serial, status FROM model WHERE project_id = $1 AND name = $2 AND is_latest",
        model.project_id,
        model.name,
    )
    if holder and holder["serial"] > model.serial and holder["status"] in ("ready", "active"):
        return
    await tx.execute(
        "UPDATE model SET is_latest = false WHERE project_id = $1 AND name = $2 AND is_latest AND id <> $3",
        model.project_id,
        model.name,
        model.id,
    )
    await tx.execute("UPDATE model SET is_latest = true WHERE id = $1", model.id)


async def overdue(tx: Tx, now: datetime, next_deadline: datetime, limit: int = 20) -> list[Model]:
    """Models whose verdict should have come by now; each gets a new deadline."""
    rows = await tx.fetch(
        f"""
        UPDATE model SET deadline_at = $2
         WHERE id IN (SELECT id FROM model WHERE status = 'validating' AND deadline_at < $1
                       ORDER BY deadline_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING {_MODEL}
        """,
        now,
        next_deadline,
        limit,
    )
    return [Model(**row) for row in rows]


async def get(tx: Tx, project_id: str, id_or_name: str) -> Model:
    """A model by id, or the latest version of a name. Raises: ModelNotFound."""
    row = await tx.fetchrow(
        f"""
        SELECT {_MODEL} FROM model WHERE project_id = $1 AND (id = $2 OR (name = $2 AND is_latest))
         ORDER BY (id = $2) DESC LIMIT 1
        """,
        project_id,
        id_or_name,
    )
    if row is None:
        raise ModelNotFound()
    return Model(**row)


async def page(
    tx: Tx, project_id: str, *, name: str | None, status: str | None, after: str | None, limit: int
) -> list[Model]:
    """Up to `limit` models of the project, newest first, after the model `after`."""
    rows = await tx.fetch(
        f"""
        SELECT {_MODEL} FROM model
         WHERE project_id = $1
           AND ($2::text IS NULL OR name = $2)
           AND ($3::text IS NULL OR status = $3)
           AND ($4::text IS NULL OR serial < (SELECT serial FROM model WHERE id = $4 AND project_id = $1))
         ORDER BY serial DESC LIMIT $5
        """,
        project_id,
        name,
        status,
        after,
        limit,
    )
    return [Model(**row) for row in rows]
