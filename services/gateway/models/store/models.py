"""Statements on `model`: one version of a named model each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from libs.contracts import MemoryNeed, ModelProperties, Report, new_id
from libs.db import Tx, columns
from libs.errors import Conflict, ModelNotFound
from libs.states import Transition, sql_in
from services.gateway.models.states import CREATE, DELETING, DISCARD, FAIL, PROCESS, REOPEN, USABLE, ModelStatus
from services.gateway.models.versions import next_version

R = TypeVar("R", bound=msgspec.Struct)

NOT_DELETED: Final = f"status <> {DELETING!r}"  # as the predicates of the indexes say it


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that say which model it is, and of which name a version."""

    id: str
    serial: int
    project_id: str
    name: str


class ListedModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that a list shows."""

    id: str
    name: str
    version: str
    is_latest: bool
    status: str  # a ModelStatus, or one that only the next release knows
    format: str | None
    size_bytes: int
    created_at: datetime


class ModelRow(ModelProperties, frozen=True, kw_only=True):
    """Every column of `model` that clients see, except for its report, which may be long."""

    id: str
    project_id: str
    name: str
    version: str
    is_latest: bool
    status: str  # a ModelStatus, or one that only the next release knows
    status_reason: str | None
    status_before_missing: str | None
    size_bytes: int
    file_count: int
    description: str | None
    license: str | None
    workload_type: str
    memory: MemoryNeed | None
    deployable: bool | None
    deployable_reason: str | None
    is_shared: bool
    catalog_role: str | None
    created_at: datetime
    updated_at: datetime


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` with the validator's report."""

    id: str
    status: str  # a ModelStatus, or one that only the next release knows
    status_reason: str | None
    report: Report | None
    validated_at: datetime | None


class CreatedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that the OpenAI SDK reads."""

    id: str
    created_at: datetime


async def create(tx: Tx, project_id: str, name: str, version: str | None) -> tuple[str, str]:
    """Insert a new version of `name`, in CREATE's target; the first of its name is the latest at once.

    Two uploads of one name take turns, so that each gets a version of its own. A deleted version may be given again,
    but is not chosen: it may be restored.
    Returns: (model id, version). Raises: Conflict if the version exists.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{project_id}/{name}")
    existing = await tx.fetch("SELECT version, status FROM model WHERE project_id = $1 AND name = $2", project_id, name)
    taken = {row["version"] for row in existing if row["status"] != DELETING}
    chosen = version or next_version(row["version"] for row in existing)
    if chosen in taken:
        raise Conflict(
            f"Version {chosen} of model {name!r} exists; give another 'version', or none for the next.",
            param="version",
            retryable=False,
        )
    model_id = new_id()
    await tx.execute(
        "INSERT INTO model (id, project_id, name, version, is_latest, status) VALUES ($1, $2, $3, $4, $5, $6)",
        model_id,
        project_id,
        name,
        chosen,
        not taken,
        CREATE.target,
    )
    return model_id, chosen


async def lock_name(tx: Tx, model_id: str) -> None:
    """Make versions of one name take turns; to be called before any of their rows is locked."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(project_id || '/' || name, 0)) FROM model WHERE id = $1",
        model_id,
    )


async def lock_names(tx: Tx, model_ids: Sequence[str]) -> None:
    """`lock_name` for many models, in one order."""
    await tx.execute(
        """
        SELECT pg_advisory_xact_lock(name)
          FROM (SELECT DISTINCT hashtextextended(project_id || '/' || name, 0) AS name FROM model
                 WHERE id = ANY ($1) ORDER BY 1) AS names
        """,
        model_ids,
    )


async def discard(tx: Tx, model_id: str) -> bool:
    """DISCARD: delete a model whose upload was aborted; the newest remaining version becomes the latest.

    False if it is in none of the sources.
    """
    await lock_name(tx, model_id)
    row = await tx.fetchrow(
        f"DELETE FROM model WHERE id = $1 AND status {sql_in(DISCARD.sources)} RETURNING project_id, name", model_id
    )
    if row is not None:
        await ensure_latest(tx, row["project_id"], row["name"])
    return row is not None


async def process(tx: Tx, model_id: str) -> None:
    """PROCESS; nothing in any state but its sources."""
    await _move(tx, PROCESS, model_id)


async def reopen(tx: Tx, model_id: str) -> None:
    """REOPEN; nothing in any state but its sources."""
    await _move(tx, REOPEN, model_id)


async def fail(tx: Tx, model_id: str, reason: str) -> None:
    """FAIL, with its reason; nothing in any state but its sources."""
    await tx.execute(
        f"""
        UPDATE model SET status = {FAIL.target!r}, status_reason = $2, deadline_at = NULL, updated_at = now()
         WHERE id = $1 AND status {sql_in(FAIL.sources)}
        """,
        model_id,
        reason,
    )


async def _move(tx: Tx, transition: Transition[ModelStatus], model_id: str) -> None:
    await tx.execute(
        f"""
        UPDATE model SET status = {transition.target!r}, updated_at = now()
         WHERE id = $1 AND status {sql_in(transition.sources)}
        """,
        model_id,
    )


async def become_latest(tx: Tx, model: VersionRow) -> None:
    """Move `is_latest` to a version that has become ready, unless a newer one that is ready holds it.

    The caller has taken `lock_name`.
    """
    holder = await tx.fetchrow(
        "SELECT serial, status FROM model WHERE project_id = $1 AND name = $2 AND is_latest",
        model.project_id,
        model.name,
    )
    if holder and holder["serial"] > model.serial and holder["status"] in USABLE:
        return
    await tx.execute(
        "UPDATE model SET is_latest = false WHERE project_id = $1 AND name = $2 AND is_latest AND id <> $3",
        model.project_id,
        model.name,
        model.id,
    )
    await tx.execute("UPDATE model SET is_latest = true WHERE id = $1", model.id)


async def ensure_latest(tx: Tx, project_id: str, name: str) -> None:
    """Where no version of a name is the latest, the newest usable one becomes it, or else the newest.

    The caller has taken `lock_name`.
    """
    await tx.execute(
        f"""
        UPDATE model SET is_latest = true
         WHERE id = (SELECT id FROM model WHERE project_id = $1 AND name = $2 AND {NOT_DELETED}
                      ORDER BY (status {sql_in(USABLE)}) DESC, serial DESC LIMIT 1)
           AND NOT EXISTS (SELECT FROM model WHERE project_id = $1 AND name = $2 AND is_latest)
        """,
        project_id,
        name,
    )


async def pass_latest_on(tx: Tx, model: VersionRow) -> None:
    """Move `is_latest` from a version that cannot be used to the newest one of its name that can, if there is one.

    The caller has taken `lock_name`.
    """
    passed = await tx.fetchval(
        f"""
        UPDATE model SET is_latest = false
         WHERE id = $1 AND is_latest
           AND EXISTS (SELECT FROM model WHERE project_id = $2 AND name = $3 AND status {sql_in(USABLE)})
        RETURNING id
        """,
        model.id,
        model.project_id,
        model.name,
    )
    if passed is not None:
        await ensure_latest(tx, model.project_id, model.name)


async def get(tx: Tx, project_id: str, id_or_name: str, row: type[R]) -> R:
    """A model by id, or the latest version of a name: the columns of `row`. Raises: ModelNotFound."""
    found = await tx.fetchrow(
        f"""
        SELECT {columns(row)} FROM model
         WHERE project_id = $1 AND (id = $2 OR (name = $2 AND is_latest)) AND {NOT_DELETED}
         ORDER BY (id = $2) DESC LIMIT 1
        """,
        project_id,
        id_or_name,
    )
    if found is None:
        raise ModelNotFound()
    return msgspec.convert(dict(found), row)


async def edit(tx: Tx, model_id: str, values: Mapping[str, object]) -> ModelRow | None:
    """Set columns, by name, to what a client says, and remember which: verdicts leave them. None for a deleted model.

    Of two clients that set different columns at the same time, both are heard.
    """
    assigned = ", ".join(f"{column} = ${number}" for number, column in enumerate(values, start=3))
    row = await tx.fetchrow(
        f"""
        UPDATE model
           SET {assigned}, edited = ARRAY(SELECT DISTINCT unnest(edited || $2::text[]) ORDER BY 1), updated_at = now()
         WHERE id = $1 AND {NOT_DELETED}
        RETURNING {columns(ModelRow)}
        """,
        model_id,
        list(values),
        *values.values(),
    )
    return None if row is None else msgspec.convert(dict(row), ModelRow)


async def exists(tx: Tx, project_id: str, model_id: str) -> bool:
    """Whether the project has this model, deleted or not."""
    return bool(
        await tx.fetchval("SELECT EXISTS (SELECT FROM model WHERE id = $1 AND project_id = $2)", model_id, project_id)
    )


async def status_of(tx: Tx, model_id: str) -> str | None:
    """The state of a model of any project; None if there is no such model."""
    status: str | None = await tx.fetchval("SELECT status FROM model WHERE id = $1", model_id)
    return status


async def page(
    tx: Tx,
    project_id: str,
    row: type[R],
    *,
    name: str | None = None,
    status: str | None = None,
    after: str | None = None,
    limit: int,
) -> list[R]:
    """Up to `limit` models of the project, newest first, after the model `after`: the columns of `row`."""
    rows = await tx.fetch(
        f"""
        SELECT {columns(row)} FROM model
         WHERE project_id = $1 AND {NOT_DELETED}
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
    return [msgspec.convert(dict(found), row) for found in rows]
