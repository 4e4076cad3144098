"""How a page of the catalog is found."""

from __future__ import annotations

from typing import Final

from libs.db import Tx
from services.gateway.catalog import schemas, store
from services.gateway.catalog.store import END, EntryRow, Place, Wanted

LOOKED_AT: Final = 1000  # models that are read in order before an index is asked for all that match


async def page(tx: Tx, query: schemas.ListCatalog, after: Place, limit: int) -> list[EntryRow]:
    """Up to `limit` models that match `query`, from a place on, newest first.

    What many models match fills the page from the next ones; what few match, an index finds without reading the rest.
    """
    project_id = await store.project_of(tx, query.owner) if query.owner else None
    if query.owner and project_id is None:
        return []
    wanted = Wanted(
        project_id=project_id,
        architecture=query.architecture or None,
        workload_type=query.workload_type or None,
        format=query.format or None,
        quantization=query.quantization or None,
        text=(query.q or "").strip() or None,
    )
    if not wanted.indexed:
        return await store.listed(tx, wanted, after, END, limit)
    found = await store.listed(tx, wanted, after, await store.place_after(tx, after, LOOKED_AT), limit)
    return found if len(found) == limit else await store.matching(tx, wanted, after, limit)
