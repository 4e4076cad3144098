"""Lifecycle on a real Postgres and S3 server, without its process: tests call its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from libs import db, outbox
from libs.blobs import Blobs
from libs.config import schema_name
from libs.contracts import Event, ObjectAudited, ObjectAuditRequested
from libs.db import Pool
from libs.signals import Signals
from services.lifecycle.app import MIGRATIONS
from services.lifecycle.audit_worker import AuditWorker
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.dependencies import Dependencies
from services.lifecycle.handlers import handlers
from services.lifecycle.move_worker import MoveWorker
from services.lifecycle.ownership import Ownership
from services.lifecycle.purge_worker import PurgeWorker
from tests.integration.lifecycle.uploads import NOON
from tests.support import emitted
from tests.support.delivery import deliver
from tests.support.stack import Stack


@dataclass
class Lifecycle:
    """An installation's lifecycle: its clients, its workers, and what its neighbours do."""

    pool: Pool
    blobs: Blobs
    signals: Signals
    config: LifecycleConfig
    name: str = ""  # the installation's namespace

    async def deliver(self, *events: Event) -> None:
        """Apply events, as the bus does."""
        for event in events:
            await deliver(self.pool, handlers, event)

    def purge_worker(self) -> PurgeWorker:
        return PurgeWorker(self.dependencies())

    def ownership(self) -> Ownership:
        """As a process that has just been started."""
        return Ownership(self.pool, self.blobs, self.name, self.config.installation_check_s)

    def audit_worker(self, **settings: object) -> AuditWorker:
        """A worker with some settings changed."""
        return AuditWorker(self.dependencies(**settings))

    def move_worker(self, **settings: object) -> MoveWorker:
        """A worker with some settings changed; for it, whatever is registered was not read for too long."""
        return MoveWorker(self.dependencies(**({"cold_after_s": 0, "move_rest_s": 0} | settings)))

    async def move(self, **settings: object) -> None:
        """Schedule moves, and do all that are due."""
        worker, stop = self.move_worker(**settings), asyncio.Event()
        while await worker.move_next(stop):
            pass

    def dependencies(self, **settings: object) -> Dependencies:
        """Of a process that has just been started."""
        config = msgspec.structs.replace(self.config, **settings)
        return Dependencies(config, self.pool, self.blobs, self.signals, self.ownership())

    async def purge(self) -> None:
        """Do every pass of every purge, however far off it is."""
        worker, stop = self.purge_worker(), asyncio.Event()
        while await self.pool.fetchval("SELECT count(*) FROM purge"):
            await self.pool.execute("UPDATE purge SET due_at = now()")
            assert await worker.purge_next(stop)
            assert not await self.pool.fetchval("SELECT count(*) FROM purge WHERE failures > 0")

    async def audit(self, *, fix: bool = False, **settings: object) -> ObjectAudited:
        """Compare now, all slices and phases, as `slipway admin audit` does; whatever is in storage counts as old."""
        await self.deliver(ObjectAuditRequested(fix=fix, at=NOON))
        settings = {
            "unclaimed_files_after_s": -60,
            "unclaimed_parts_after_s": -60,
            "missing_confirm_s": 0,
            "slice_pause_s": 0,
            "move_rest_s": 0,
        } | settings
        worker, stop = self.audit_worker(**settings), asyncio.Event()
        before = len(await self.audited())
        while len(await self.audited()) == before:
            assert await worker.next_slice(stop)
        return (await self.audited())[-1]

    async def audited(self) -> list[ObjectAudited]:
        """How each audit so far has ended."""
        return [event for event in await emitted(self.pool) if isinstance(event, ObjectAudited)]


@asynccontextmanager
async def installed(stack: Stack, blobs: Blobs, namespace: str) -> AsyncIterator[Lifecycle]:
    """An installation of that namespace, with a schema of its own, on a bucket."""
    schema = schema_name(namespace, "lifecycle")
    await db.migrate(stack.postgres_url, schema, outbox.MIGRATIONS, MIGRATIONS)
    config = LifecycleConfig(database_url=stack.postgres_url, nats_url=stack.nats_url, s3_url=stack.s3_url, poll_s=0.05)
    async with (
        await db.open_pool(stack.postgres_url, schema) as pool,
        Signals.open(stack.postgres_url, schema) as signals,
    ):
        yield Lifecycle(pool, blobs, signals, config, namespace)
