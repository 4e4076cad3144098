"""A validator on real servers, and models to give it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from asyncpg.exceptions import InterfaceError, PostgresError

from libs.blobs import Blobs
from libs.contracts import (
    Event,
    ModelRejected,
    ModelValidated,
    ModelValidationParked,
    ModelValidationRequested,
    StoredFile,
    new_id,
)
from libs.db import Pool
from libs.errors import Unavailable
from libs.outbox import CHANNEL
from libs.signals import Signals
from services.validator.config import ValidatorConfig
from services.validator.dependencies import Dependencies
from services.validator.handlers import handlers
from services.validator.reader import ModelReader, Ranges
from services.validator.worker import Worker
from tests.support.delivery import deliver
from tests.support.eventually import eventually
from tests.support.outbox import emitted

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PATIENCE_S = 60.0

Outcome = ModelValidated | ModelRejected


class CountingStorage:
    """Storage that remembers what was read of it, and fails for some keys."""

    def __init__(self, blobs: Blobs) -> None:
        self.reads: list[str] = []  # keys
        self.bytes_read = 0
        self.errors: dict[str, Exception] = {}  # by key
        self.gate = asyncio.Event()  # reads wait for it
        self.gate.set()
        self.arrived = asyncio.Event()  # somebody reads
        self._blobs = blobs

    async def read(self, key: str, start: int, length: int) -> bytes:
        self.reads.append(key)
        self.arrived.set()
        await self.gate.wait()
        if key in self.errors:
            raise self.errors[key]
        content = await self._blobs.read(key, start, length)
        self.bytes_read += len(content)
        return content


@dataclass
class Validator:
    """The validator's surroundings, and the ways in which its neighbours reach it."""

    pool: Pool
    signals: Signals
    blobs: Blobs
    storage: CountingStorage
    config: ValidatorConfig = field(
        default_factory=lambda: ValidatorConfig(
            database_url="", nats_url="", s3_url="", lease_s=3, poll_s=2, first_pause_s=0.01, first_park_s=3600
        )
    )

    def worker(self, storage: Ranges | None = None, **changes: float) -> Worker:
        """One process's worth of work, with other settings where told."""
        config = msgspec.structs.replace(self.config, **changes)
        reader = ModelReader(storage or self.storage, config.max_fetches)
        return Worker(Dependencies(config, self.pool, self.signals, reader))

    @asynccontextmanager
    async def working(self, storage: Ranges | None = None, **changes: float) -> AsyncIterator[asyncio.Task[None]]:
        """A worker, until the block ends; then it is told to stop, as by SIGTERM."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.worker(storage, **changes).run(stop))
        try:
            yield task
        finally:
            stop.set()
            if not task.cancelled():
                await task

    async def model(
        self, files: Mapping[str, bytes], *, project_id: str = "p", folder: str = "objects"
    ) -> ModelValidationRequested:
        """Files in storage, in this folder of it; the request that the gateway would send."""
        stored = []
        for number, (path, content) in enumerate(files.items()):
            key = f"{project_id}/{folder}/u/f{number}-{new_id()}"
            await self.blobs.put_bytes(key, content)
            digest = hashlib.sha256(content).hexdigest()
            stored.append(StoredFile(path=path, size_bytes=len(content), sha256=digest, key=key))
        return ModelValidationRequested(
            at=NOON, model_id=new_id(), project_id=project_id, validation_id=new_id(), files=stored
        )

    async def ask(self, *requests: ModelValidationRequested) -> None:
        """Deliver requests, as the bus does."""
        for request in requests:
            await deliver(self.pool, handlers, request)

    async def ask_again(self, request: ModelValidationRequested, *, resume: bool = False) -> None:
        """The gateway's sweeper, or an operator, asks once more."""
        await self.ask(msgspec.structs.replace(request, id=new_id(), resume=resume))

    async def until(self, seen: Callable[[list[Event]], bool]) -> list[Event]:
        """Everything emitted, as soon as it satisfies `seen`."""
        async with asyncio.timeout(PATIENCE_S):
            with self.signals.subscribe(CHANNEL) as news:
                while not seen(events := await emitted(self.pool)):
                    await news.wait(0.2)
        return events

    async def outcome(self, request: ModelValidationRequested) -> Outcome:
        """The verdict, once it is there."""

        def of_this(events: list[Event]) -> list[Outcome]:
            outcomes = [event for event in events if isinstance(event, ModelValidated | ModelRejected)]
            return [event for event in outcomes if event.validation_id == request.validation_id]

        return of_this(await self.until(lambda events: bool(of_this(events))))[0]

    async def patient_outcome(self, request: ModelValidationRequested) -> Outcome:
        """The verdict, once it is there and Postgres says so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.outcome(request)
                except (Unavailable, OSError, PostgresError, InterfaceError):
                    await asyncio.sleep(0.1)  # nothing signals that Postgres is back

    async def until_put_off(self, request: ModelValidationRequested) -> None:
        """Return when an attempt at the model has failed."""
        failed = "SELECT reason FROM validation WHERE validation_id = $1 AND reason IS NOT NULL"
        await eventually(lambda: self.pool.fetchval(failed, request.validation_id), timeout_s=PATIENCE_S)

    async def parked(self, request: ModelValidationRequested, *, times: int = 1) -> ModelValidationParked:
        """What is said of a model that has been parked so often."""

        def of_this(events: list[Event]) -> list[ModelValidationParked]:
            parked = [event for event in events if isinstance(event, ModelValidationParked)]
            return [event for event in parked if event.validation_id == request.validation_id]

        return of_this(await self.until(lambda events: len(of_this(events)) >= times))[times - 1]
