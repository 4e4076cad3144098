"""Statements about models by name: of the versions of a name, the latest usable one, or else the newest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from libs.db import Tx, columns
from libs.errors import ModelNotFound
from libs.states import sql_in
from services.gateway.limits import store as limits
from services.gateway.models.states import DELETING, USABLE
from services.gateway.uploads.store.uploads import Upload


class AccountModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that Fireworks knows."""

    id: str
    name: str
    version: str
    status: str  # a ModelStatus, or one that only the next release knows
    status_reason: str | None
    deployable: bool | None
    deployable_reason: str | None
    description: str | None
    architecture: str | None
    context_length: int | None
    parameter_count: int | None
    declared: dict[str, Any] | None
    validation_options: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


_MODEL = columns(AccountModelRow)
_UPLOAD = columns(Upload)
_VISIBLE = f"status <> {DELETING!r}"
_FIRST = f"(is_latest AND status {sql_in(USABLE)}) DESC, serial DESC"  # of the versions of a name


async def lock_name(tx: Tx, project_id: str, name: str) -> None:
    """Let one transaction at a time make a version of `name`, as `models.create` does.

    The turn of those who look at limits comes first, as where other uploads are opened.
    """
    await limits.take_turn(tx, project_id)
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{project_id}/{name}")


async def find(tx: Tx, project_id: str, name: str) -> AccountModelRow | None:
    """The model `name`; None if the project has none."""
    row = await tx.fetchrow(
        f"""
        SELECT {_MODEL} FROM model WHERE project_id = $1 AND name = $2 AND {_VISIBLE} ORDER BY {_FIRST} LIMIT 1
        """,
        project_id,
        name,
    )
    return None if row is None else msgspec.convert(dict(row), AccountModelRow)


async def get(tx: Tx, project_id: str, name: str) -> AccountModelRow:
    """The model `name`. Raises: ModelNotFound."""
    found = await find(tx, project_id, name)
    if found is None:
        raise ModelNotFound()
    return found


async def page(tx: Tx, project_id: str, *, after: str, limit: int) -> list[AccountModelRow]:
    """Up to `limit` models by name, after the name `after`."""
    rows = await tx.fetch(
        f"""
        SELECT DISTINCT ON (name) {_MODEL} FROM model
         WHERE project_id = $1 AND name > $2 AND {_VISIBLE}
         ORDER BY name, {_FIRST} LIMIT $3
        """,
        project_id,
        after,
        limit,
    )
    return [msgspec.convert(dict(row), AccountModelRow) for row in rows]


async def count(tx: Tx, project_id: str) -> int:
    """How many names the project has."""
    counted: int = await tx.fetchval(
        f"SELECT count(DISTINCT name) FROM model WHERE project_id = $1 AND {_VISIBLE}", project_id
    )
    return counted


async def versions(tx: Tx, project_id: str, name: str) -> list[str]:
    """The ids of all versions of a name, the newest first."""
    rows = await tx.fetch(
        f"SELECT id FROM model WHERE project_id = $1 AND name = $2 AND {_VISIBLE} ORDER BY serial DESC",
        project_id,
        name,
    )
    return [row["id"] for row in rows]


async def files_of(tx: Tx, model_ids: list[str]) -> dict[str, list[str]]:
    """The paths of the files that these models have in the registry."""
    rows = await tx.fetch(
        "SELECT model_id, path FROM model_file WHERE model_id = ANY ($1) ORDER BY model_id, path", model_ids
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["model_id"], []).append(row["path"])
    return found


async def declare(tx: Tx, model_id: str, declared: dict[str, Any], description: str | None) -> None:
    """Keep what its client says of a model."""
    await tx.execute(
        "UPDATE model SET declared = $2, description = coalesce($3, description) WHERE id = $1",
        model_id,
        declared,
        description,
    )


async def last_upload(tx: Tx, model_id: str) -> Upload | None:
    """The upload that a model was, or is to be, brought by; None once its row is gone."""
    row = await tx.fetchrow(f"SELECT {_UPLOAD} FROM upload WHERE model_id = $1 ORDER BY serial DESC LIMIT 1", model_id)
    return None if row is None else Upload(**row)
