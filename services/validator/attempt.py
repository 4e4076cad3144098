"""One attempt at validating one model, and what follows from how it ends.

all files read        -> the verdict: ModelValidated or ModelRejected
any error             -> postponed, with growing pauses; after `max_attempts` parked: ModelValidationParked
process killed        -> claimed again when its lease has expired; it counts as an attempt
parked                -> tried again after minutes, then hours, without end; never rejected for an error of ours
process stopped       -> released, to be claimed again at once
lease lost            -> nothing: another process has it
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from libs import telemetry
from libs.contracts import Report
from libs.db import Tx, connection, transaction
from libs.errors import NotFound, Unavailable
from libs.leases import Lease
from libs.outbox import emit
from libs.signals import notify
from services.validator import facts, metrics, store
from services.validator.dependencies import Dependencies
from services.validator.facts import FactsKey, FileFacts, ModelFacts
from services.validator.handlers import parked_event, verdict_event
from services.validator.reader import MAX_PATIENCE_S, facts_key
from services.validator.report import AS_ANY, build_report
from services.validator.store import WAITING, Claim, Verdict
from services.validator.text import printable

LONGEST_PAUSE_S = 30.0
LONGEST_PARK_S = 4 * 3600.0
FINISH_AGAIN_S = 0.5

log = logging.getLogger(__name__)


class Attempt:
    """One attempt under one lease. Raises nothing but its own cancellation."""

    def __init__(self, lease: Lease[Claim], dependencies: Dependencies) -> None:
        self.claim = lease.claim
        self._lease = lease
        self._dependencies = dependencies

    async def run(self) -> None:
        """Validate the model, and record the outcome."""
        claim = self.claim
        with telemetry.bind(request_id=claim.request_id, traceparent=claim.traceparent):
            try:
                await self._try_and_record()
            except asyncio.CancelledError:
                if not self._lease.lost:
                    await self._give_back(self._release)
                raise

    async def _try_and_record(self) -> None:
        claim = self.claim
        try:
            if claim.attempts > self._dependencies.config.max_attempts:
                times = f"{claim.attempts - 1} times in a row"
                await self._park(f"The validator did not survive reading the model ({times}).")
                return
            await self._try()
        except (Unavailable, NotFound) as error:
            await self._put_off(str(error))
        except Exception as error:  # an error of ours is no fault of the model
            log.exception("validation failed", extra={"validation_id": claim.validation_id})
            await self._put_off(f"The model could not be checked ({type(error).__name__}: {error}).")

    async def _try(self) -> None:
        read = await self._read()
        report = await self._report(read)
        await self._finish(Verdict(report=report, decided_at=datetime.now(UTC)), read.new)

    async def _read(self) -> ModelFacts:
        """Read the model's files, except for those whose facts are kept."""
        claim, reader = self.claim, self._dependencies.reader
        async with connection(self._dependencies.pool) as tx:
            kept = await store.kept_facts(tx, claim.project_id, [facts_key(file) for file in claim.files])
        known = await reader.compute(sum(map(len, kept.values())), partial(_decoded, kept))
        # Short at first, so that models whose files can be read are not delayed by those that storage refuses
        patience_s = min(MAX_PATIENCE_S, self._dependencies.config.first_patience_s * 2 ** min(claim.attempts - 1, 16))
        return await reader.read_model(claim.files, known, patience_s=patience_s)

    async def _report(self, read: ModelFacts) -> Report:
        reader = self._dependencies.reader
        build = partial(
            build_report,
            read.model(),
            files_read=read.files_read,
            bytes_read=read.bytes_read,
            options=self.claim.options or AS_ANY,
        )
        async with reader.alone_if_heavy(read.bytes_read):
            return await reader.compute(read.bytes_read, build)

    async def _finish(self, verdict: Verdict, new: dict[FactsKey, bytes]) -> None:
        """Record the verdict and emit its event; while Postgres is away, try again until it is back."""
        claim = self.claim
        while True:
            try:
                async with transaction(self._dependencies.pool) as tx:
                    stands = await store.finish(tx, claim, verdict)
                    if stands is not None:
                        if new:
                            await store.keep_facts(tx, claim.project_id, new)
                        await emit(tx, [verdict_event(claim.model_id, claim.validation_id, stands)])
            except Unavailable as error:
                log.warning("cannot record the verdict yet: %s", error)
                await asyncio.sleep(FINISH_AGAIN_S)  # nothing signals that Postgres is back
                continue
            break
        if stands is None:
            metrics.attempts.labels("lost").inc()
            return
        passed = "passed" if stands.report.passed else "rejected"
        metrics.attempts.labels(passed).inc()
        read = {"bytes_read": stands.report.bytes_read, "findings": len(stands.report.findings)}
        log.info("validated: %s", passed, extra={"model_id": claim.model_id, **read})

    async def _put_off(self, reason: str) -> None:
        if self.claim.attempts >= self._dependencies.config.max_attempts:
            await self._park(reason)
            return
        pause_s = min(LONGEST_PAUSE_S, self._dependencies.config.first_pause_s * 2 ** (self.claim.attempts - 1))
        log.warning("validation is put off: %s", reason, extra={"validation_id": self.claim.validation_id})
        metrics.attempts.labels("put_off").inc()
        await self._give_back(lambda tx: store.postpone(tx, self.claim, printable(reason, store.MAX_REASON), pause_s))

    async def _park(self, reason: str) -> None:
        """Give the lease back for minutes, then hours; each time for one more attempt."""
        claim, config = self.claim, self._dependencies.config
        pause_s = min(LONGEST_PARK_S, config.first_park_s * 2 ** min(claim.parks, 16))

        async def park(tx: Tx) -> None:
            reached = printable(reason, store.MAX_REASON)
            parked = await store.park(tx, claim, reached, pause_s, attempts=config.max_attempts - 1)
            if parked is not None:
                await emit(tx, [parked_event(claim.model_id, claim.validation_id, parked, datetime.now(UTC))])

        log.error("validation is parked: %s", reason, extra={"validation_id": claim.validation_id})
        metrics.attempts.labels("parked").inc()
        await self._give_back(park)

    async def _release(self, tx: Tx) -> None:
        await store.release(tx, self.claim)
        await notify(tx, WAITING)

    async def _give_back(self, statement: Callable[[Tx], Awaitable[None]]) -> None:
        """Let another process claim it; if Postgres is away, the lease expires by itself."""
        try:
            async with transaction(self._dependencies.pool) as tx:
                await statement(tx)
        except Unavailable as error:
            log.warning("cannot give the lease back: %s", error)


def _decoded(kept: dict[FactsKey, bytes]) -> dict[FactsKey, FileFacts]:
    return {key: facts.decode(raw) for key, raw in kept.items()}
