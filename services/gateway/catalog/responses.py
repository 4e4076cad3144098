"""From rows of the catalog to what the routes answer."""

from __future__ import annotations

from datetime import datetime

from services.gateway.catalog import schemas
from services.gateway.catalog.store import EntryRow, StandingRow
from services.gateway.models.states import USABLE
from services.gateway.presentation import size_in_words, timestamp

_AS_IN_ROW = set(schemas.CatalogModel.__struct_fields__) & set(EntryRow.__struct_fields__) - {"shared_at"}


def entry(row: EntryRow) -> schemas.CatalogModel:
    """A model of the catalog."""
    return schemas.CatalogModel(
        **{name: getattr(row, name) for name in _AS_IN_ROW},
        size_formatted=size_in_words(row.size_bytes),
        shared_at=timestamp(row.shared_at),
    )


def info(row: StandingRow, shared_at: datetime) -> schemas.CatalogInfo:
    """What a model that is listed is in the catalog."""
    return schemas.CatalogInfo(
        id=row.id,
        catalog_role=row.catalog_role,
        deployment_count=row.deployment_count,
        featured=row.featured,
        shared_at=timestamp(shared_at),
    )


def why_not_listed(row: StandingRow) -> str:
    """Why a model is not in the catalog, for its owner."""
    if not row.is_shared:
        return f"This model is not in the catalog; POST models/{row.id}/share puts it there."
    if row.status not in USABLE:
        return f"This model is shared, but not in the catalog while it is '{row.status}'."
    return "This model is shared, but not in the catalog while model sharing is not enabled for the project."
