"""The SQL of the catalog; one function a statement.

What is listed comes newest first, from a place in that order. A model that matches what many match is among the next
ones, which `listed` reads in order; one that matches what few match is found by `matching`, through an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from libs.contracts import MemoryNeed
from libs.db import Tx, columns
from libs.states import sql_in
from services.gateway.models.states import USABLE
from services.gateway.models.store.models import NOT_DELETED

ROLE: Final = "deployable"  # what other projects may do with a model of the catalog

# As the predicates of the indexes say it
_SHARED: Final = f"is_shared AND status {sql_in(USABLE)}"
# Its project may share. Not a join: looked up for each model that is to be shown, however many projects there are
_OPEN: Final = """
    (SELECT true FROM project JOIN project_feature ON project_feature.project_id = project.id
      WHERE project.id = model.project_id AND feature = 'model_sharing' AND revoked_at IS NULL)"""
_WANTED: Final = """
    ($1::text IS NULL OR project_id = $1) AND ($2::text IS NULL OR architecture = $2)
    AND ($3::text IS NULL OR workload_type = $3) AND ($4::text IS NULL OR format = $4)
    AND ($5::text IS NULL OR quantization = $5)
    AND ($6::text IS NULL
         OR position(lower($6) IN lower(concat_ws(E'\\n', name, architecture, left(description, 1000)))) > 0)"""
_TERMS: Final = "catalog_terms(project_id, architecture, workload_type, format, quantization, name, description)"


class Place(NamedTuple):
    """A place in the order of the catalog."""

    shared_at: datetime
    serial: int


TOP: Final = Place(datetime(9999, 1, 1, tzinfo=UTC), 0)  # before the newest
END: Final = Place(datetime(1, 1, 2, tzinfo=UTC), 0)  # after the oldest


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has to be, to be found; None: anything."""

    project_id: str | None = None
    architecture: str | None = None
    workload_type: str | None = None
    format: str | None = None
    quantization: str | None = None
    text: str | None = None  # somewhere in its name, architecture, or the first 1,000 characters of its description

    @property
    def properties(self) -> list[str]:
        """The terms of what has to be equal, as the function `catalog_terms` of the schema writes them."""
        equal = {
            "project": self.project_id,
            "architecture": self.architecture,
            "workload_type": self.workload_type,
            "format": self.format,
            "quantization": self.quantization,
        }
        return [f"{name}={value}" for name, value in equal.items() if value is not None]

    @property
    def indexed(self) -> bool:
        """Whether it asks for anything: then the index of terms finds it."""
        return bool(self.properties) or self.text is not None


class _Columns(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of `model` that everybody may see of a model in the catalog."""

    id: str
    name: str
    version: str
    description: str | None
    license: str | None
    architecture: str | None
    quantization: str | None
    format: str | None
    context_length: int | None
    parameter_count: int | None
    workload_type: str
    size_bytes: int
    memory: MemoryNeed | None
    deployable: bool | None
    catalog_role: str | None
    deployment_count: int
    featured: bool
    shared_at: datetime


class EntryRow(_Columns, frozen=True, kw_only=True):
    """A model in the catalog, with its project's slug."""

    owner: str


class StandingRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a model stands to the catalog."""

    id: str
    project_id: str
    status: str  # a ModelStatus, or one that only the next release knows
    is_shared: bool
    catalog_role: str | None
    deployment_count: int
    featured: bool
    shared_at: datetime | None
    listed: bool  # it is in the catalog


_ENTRY: Final = f"{columns(_Columns)}, (SELECT slug FROM project WHERE project.id = model.project_id) AS owner"
_STANDING: Final = columns(StandingRow).removesuffix(", listed")


async def share(tx: Tx, model_id: str) -> datetime | None:
    """Share a model; one that is shared keeps its time. Returns that time; None unless it can be used."""
    shared_at: datetime | None = await tx.fetchval(
        f"""
        UPDATE model
           SET is_shared = true, catalog_role = {ROLE!r}, shared_at = CASE WHEN is_shared THEN shared_at ELSE now() END,
               updated_at = CASE WHEN is_shared THEN updated_at ELSE now() END
         WHERE id = $1 AND status {sql_in(USABLE)}
        RETURNING shared_at
        """,
        model_id,
    )
    return shared_at


async def unshare(tx: Tx, model_id: str) -> datetime | None:
    """Unshare a model. Returns the time; None if it is not shared."""
    unshared_at: datetime | None = await tx.fetchval(
        """
        UPDATE model SET is_shared = false, catalog_role = NULL, updated_at = now() WHERE id = $1 AND is_shared
        RETURNING updated_at
        """,
        model_id,
    )
    return unshared_at


async def project_of(tx: Tx, slug: str) -> str | None:
    """The id of the project with this slug."""
    project_id: str | None = await tx.fetchval("SELECT id FROM project WHERE slug = $1 AND deleted_at IS NULL", slug)
    return project_id


async def place_of(tx: Tx, model_id: str) -> Place | None:
    """The place of a model that is, or was, in the catalog; None for any other."""
    row = await tx.fetchrow("SELECT shared_at, serial FROM model WHERE id = $1 AND shared_at IS NOT NULL", model_id)
    return Place(row["shared_at"], row["serial"]) if row else None


async def place_after(tx: Tx, place: Place, count: int) -> Place:
    """The place of the `count`th model after `place`; END if there are fewer."""
    row = await tx.fetchrow(
        f"""
        SELECT shared_at, serial FROM model WHERE {_SHARED} AND (shared_at, serial) < ($1, $2)
         ORDER BY shared_at DESC, serial DESC OFFSET $3 LIMIT 1
        """,
        place.shared_at,
        place.serial,
        count - 1,
    )
    return Place(row["shared_at"], row["serial"]) if row else END


async def listed(tx: Tx, wanted: Wanted, after: Place, to: Place, limit: int) -> list[EntryRow]:
    """Up to `limit` models after one place and not beyond another, newest first; every model between is looked at."""
    rows = await tx.fetch(
        f"""
        SELECT {_ENTRY} FROM model
         WHERE {_SHARED} AND (shared_at, serial) < ($7, $8) AND (shared_at, serial) >= ($9, $10)
           AND {_OPEN} AND {_WANTED}
         ORDER BY shared_at DESC, serial DESC LIMIT $11
        """,
        *_values(wanted),
        *after,
        *to,
        limit,
    )
    return [msgspec.convert(dict(row), EntryRow) for row in rows]


async def matching(tx: Tx, wanted: Wanted, after: Place, limit: int) -> list[EntryRow]:
    """Up to `limit` models after a place, newest first, where `wanted.indexed`; all that match are looked at."""
    # OFFSET 0 has all that match put in order first; then only as many projects are looked up as the page needs
    rows = await tx.fetch(
        f"""
        SELECT {_ENTRY} FROM model
         WHERE id IN (
                   SELECT id
                     FROM (SELECT id, project_id, shared_at, serial FROM model
                            WHERE {_SHARED} AND {_TERMS} @> ($9::text[] || ARRAY(
                                      SELECT substr(text, start, least(3, length(text)))
                                        FROM (SELECT lower($6) AS text WHERE $6 IS NOT NULL) AS texts,
                                             generate_series(1, greatest(1, length(text) - 2)) AS start))
                              AND (shared_at, serial) < ($7, $8) AND {_WANTED}
                            ORDER BY shared_at DESC, serial DESC OFFSET 0) AS model
                    WHERE {_OPEN}
                    ORDER BY shared_at DESC, serial DESC LIMIT $10)
         ORDER BY shared_at DESC, serial DESC
        """,
        *_values(wanted),
        *after,
        wanted.properties,
        limit,
    )
    return [msgspec.convert(dict(row), EntryRow) for row in rows]


async def get(tx: Tx, model_id: str) -> EntryRow | None:
    """A model of the catalog; None if it is not there."""
    row = await tx.fetchrow(f"SELECT {_ENTRY} FROM model WHERE id = $1 AND {_SHARED} AND {_OPEN}", model_id)
    return msgspec.convert(dict(row), EntryRow) if row else None


async def standing(tx: Tx, project_id: str, id_or_name: str) -> StandingRow | None:
    """A model of the project by id or name (the latest version), or one of any project by id."""
    row = await tx.fetchrow(
        f"""
        SELECT {_STANDING}, {_SHARED} AND {_OPEN} AS listed FROM model
         WHERE (id = $2 OR (project_id = $1 AND name = $2 AND is_latest)) AND {NOT_DELETED}
         ORDER BY (project_id = $1) DESC, (id = $2) DESC LIMIT 1
        """,
        project_id,
        id_or_name,
    )
    return StandingRow(**row) if row else None


def _values(wanted: Wanted) -> Sequence[Any]:
    """The parameters of _WANTED."""
    return [
        wanted.project_id,
        wanted.architecture,
        wanted.workload_type,
        wanted.format,
        wanted.quantization,
        wanted.text,
    ]
