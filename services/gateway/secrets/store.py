"""The SQL of secrets; one function a statement."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx, columns
from services.gateway.secrets.schemas import SecretType


class SecretRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `secret`, without its value."""

    name: str
    type: SecretType
    created_at: datetime
    last_used_at: datetime | None


class SealedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a secret, encrypted."""

    name: str
    type: SecretType
    sealed: str


_SECRET = columns(SecretRow)
_SEALED = columns(SealedSecret)


async def put(tx: Tx, project_id: str, *, name: str, kind: SecretType, sealed: str) -> tuple[SecretRow, bool]:
    """Insert a secret, or replace the one of that name; with whether it was there."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO secret AS s (project_id, name, type, sealed) VALUES ($1, $2, $3, $4)
        ON CONFLICT (project_id, name) DO UPDATE SET type = $3, sealed = $4, created_at = now(), last_used_at = NULL
        RETURNING {_SECRET}, xmax <> 0 AS replaced
        """,
        project_id,
        name,
        kind,
        sealed,
    )
    return msgspec.convert({key: value for key, value in row.items() if key != "replaced"}, SecretRow), row["replaced"]


async def count(tx: Tx, project_id: str) -> int:
    """How many secrets a project has."""
    return int(await tx.fetchval("SELECT count(*) FROM secret WHERE project_id = $1", project_id))


async def all_of(tx: Tx, project_id: str) -> list[SecretRow]:
    """All secrets of a project, by name."""
    rows = await tx.fetch(f"SELECT {_SECRET} FROM secret WHERE project_id = $1 ORDER BY name", project_id)
    return [SecretRow(**row) for row in rows]


async def get(tx: Tx, project_id: str, name: str) -> SealedSecret | None:
    """One secret, encrypted."""
    row = await tx.fetchrow(f"SELECT {_SEALED} FROM secret WHERE project_id = $1 AND name = $2", project_id, name)
    return None if row is None else SealedSecret(**row)


async def mark_used(tx: Tx, project_id: str, name: str, at: datetime) -> bool:
    """Note that an import uses a secret; False if it is gone."""
    return bool(
        await tx.fetchval(
            "UPDATE secret SET last_used_at = $3 WHERE project_id = $1 AND name = $2 RETURNING true",
            project_id,
            name,
            at,
        )
    )


async def delete(tx: Tx, project_id: str, name: str) -> bool:
    """Delete a secret; False if there is none of that name."""
    return bool(
        await tx.fetchval(
            "DELETE FROM secret WHERE project_id = $1 AND name = $2 RETURNING true",
            project_id,
            name,
        )
    )
