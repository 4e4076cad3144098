"""Deadlines of models: a verdict that does not come is asked for again."""

from __future__ import annotations

import logging
from datetime import datetime

from libs.contracts import Event, ModelValidationRequested
from libs.db import Pool, transaction
from libs.outbox import emit
from services.gateway.models.store import files as model_files
from services.gateway.models.store import models

log = logging.getLogger(__name__)


async def ask_verdicts_again(pool: Pool, now: datetime, next_deadline: datetime) -> None:
    """Models without a verdict. Emits: ModelValidationRequested, with the same validation id."""
    async with transaction(pool) as tx:
        again: list[Event] = []
        for model in await models.overdue(tx, now, next_deadline):
            log.info("asking for a verdict again", extra={"model_id": model.id})
            again.append(
                ModelValidationRequested(
                    model_id=model.id,
                    project_id=model.project_id,
                    validation_id=model.validation_id or "",
                    files=await model_files.of_model(tx, model.id),
                    at=now,
                )
            )
        await emit(tx, again)
