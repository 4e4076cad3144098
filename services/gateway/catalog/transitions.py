"""Sharing and unsharing, in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx
from libs.errors import InvalidModelStatus
from services.gateway.catalog import store
from services.gateway.models.states import USABLE
from services.gateway.models.store import models


class ModelId(msgspec.Struct, frozen=True, kw_only=True):
    """The column of `model` that says which it is."""

    id: str


async def share(tx: Tx, project_id: str, id_or_name: str) -> tuple[str, datetime]:
    """Put a model of the project into the catalog; one that is there stays, with the time at which it came.

    Returns: (model id, since when it is shared). Raises: ModelNotFound; InvalidModelStatus, unless it can be used.
    """
    model = await models.get(tx, project_id, id_or_name, ModelId)
    shared_at = await store.share(tx, model.id)
    if shared_at is None:
        status = await models.status_of(tx, model.id)
        raise InvalidModelStatus(
            f"This model is '{status}'; share it when it is {' or '.join(USABLE)}. GET models/{model.id}/report says "
            "what is wrong, if anything is.",
            retryable=False,
        )
    return model.id, shared_at


async def unshare(tx: Tx, project_id: str, id_or_name: str) -> tuple[str, datetime]:
    """Take a model of the project out of the catalog, whatever its status; what is deployed of it goes on.

    Returns: (model id, the time). Raises: ModelNotFound; InvalidModelStatus, if it is not shared.
    """
    model = await models.get(tx, project_id, id_or_name, ModelId)
    unshared_at = await store.unshare(tx, model.id)
    if unshared_at is None:
        raise InvalidModelStatus("This model is not shared; there is nothing to unshare.", retryable=False)
    return model.id, unshared_at
