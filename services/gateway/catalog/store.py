"""The SQL of the catalog; one function a statement."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from libs.db import Tx
from libs.states import sql_in
from services.gateway.models.states import USABLE

ROLE: Final = "deployable"  # what other projects may do with a model of the catalog


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
