"""What the validator does about each event: it reads the model, judges it, and tells the verdict."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from libs.bus import Handlers
from libs.contracts import Event, ModelRejected, ModelValidated, ModelValidationRequested
from libs.db import Pool, Tx, connection
from services.validator import store
from services.validator.judging import judge
from services.validator.reading import ModelReader
from services.validator.store import Verdict

log = logging.getLogger(__name__)

handlers = Handlers("validator")


@dataclass(frozen=True)
class Tools:
    """What the slow part works with."""

    pool: Pool
    reader: ModelReader


async def reach_verdict(event: ModelValidationRequested, tools: Tools) -> Verdict:
    """The verdict that is stored, or a new one: read the model's headers and apply every rule.

    Raises: ObjectNotFound, if storage lacks one of the files; Unavailable.
    """
    async with connection(tools.pool) as tx:
        known = await store.find(tx, event.validation_id)
    if known is not None:
        return known
    found = await tools.reader.inspect(event.files)
    async with tools.reader.alone_if_heavy(found.bytes_read):
        report = await tools.reader.compute(found.bytes_read, partial(judge, found))
    facts = {"model_id": event.model_id, "bytes_read": report.bytes_read, "findings": len(report.findings)}
    log.info("validated: %s", "passed" if report.passed else "rejected", extra=facts)
    return Verdict(report=report, decided_at=datetime.now(UTC))


@handlers.on(ModelValidationRequested, prepare=reach_verdict)
async def tell_verdict(event: ModelValidationRequested, tx: Tx, reached: Verdict) -> list[Event]:
    """Store the verdict, and tell it.

    Emits: ModelValidated or ModelRejected; for a repeated request the same as at first.
    """
    verdict = await store.record(tx, event.validation_id, event.model_id, reached)
    kind = ModelValidated if verdict.report.passed else ModelRejected
    return [
        kind(
            at=verdict.decided_at,
            model_id=event.model_id,
            validation_id=event.validation_id,
            report=verdict.report,
        )
    ]
