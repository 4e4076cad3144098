"""Lifecycle's parts on real Postgres and a real S3 server, driven by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from libs import db, outbox
from libs.blobs import Blobs
from libs.config import schema_name
from libs.contracts import Event, ObjectAudited, ObjectAuditRequested, event_type
from libs.db import Pool
from libs.outbox import apply_once
from libs.signals import Signals
from services.lifecycle.app import MIGRATIONS
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import handlers
from services.lifecycle.ownership import Ownership
from services.lifecycle.purging import PurgeWorker
from services.lifecycle.reconciling import Reconciler
from tests.integration.lifecycle.given import NOON
from tests.support import emitted
from tests.support.stack import Stack


@dataclass
class Lifecycle:
    """The service without its process."""

    pool: Pool
    blobs: Blobs
    signals: Signals
    config: LifecycleConfig
    name: str = ""  # the installation's namespace

    async def handle(self, *events: Event) -> None:
        """Apply events as the bus would."""
        for event in events:
            route = handlers.events[event_type(event)]
            await apply_once(self.pool, handlers.service, route.handle, event)

    def worker(self) -> PurgeWorker:
        return PurgeWorker(self.pool, self.blobs, self.signals, self.ownership(), self.config)

    def ownership(self) -> Ownership:
        """As a process that has just been started."""
        return Ownership(self.pool, self.blobs, self.name, self.config.installation_check_s)

    def reconciler(self, **settings: object) -> Reconciler:
        config = msgspec.structs.replace(self.config, **settings)
        return Reconciler(self.pool, self.blobs, self.signals, self.ownership(), config)

    async def purge(self) -> None:
        """Do every pass of every purge, however far off it is."""
        worker, stop = self.worker(), asyncio.Event()
        while await self.pool.fetchval("SELECT count(*) FROM purge"):
            await self.pool.execute("UPDATE purge SET due_at = now()")
            assert await worker.purge_next(stop)
            assert not await self.pool.fetchval("SELECT count(*) FROM purge WHERE failures > 0")

    async def audit(self, *, fix: bool = False, **settings: object) -> ObjectAudited:
        """Compare now, all slices and phases, as `slipway admin audit` does; whatever is in storage counts as old."""
        await self.handle(ObjectAuditRequested(fix=fix, at=NOON))
        settings = {
            "unclaimed_files_after_s": -60,
            "unclaimed_parts_after_s": -60,
            "missing_confirm_s": 0,
            "slice_pause_s": 0,
        } | settings
        reconciler, stop = self.reconciler(**settings), asyncio.Event()
        before = len(await self.audited())
        while len(await self.audited()) == before:
            assert await reconciler.next_slice(stop)
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


@pytest.fixture
async def lifecycle(stack: Stack, namespace: str, blobs: Blobs) -> AsyncIterator[Lifecycle]:
    """The only installation of a bucket."""
    async with installed(stack, blobs, namespace) as lifecycle:
        yield lifecycle


@pytest.fixture
async def other(stack: Stack, namespace: str, blobs: Blobs) -> AsyncIterator[Lifecycle]:
    """A second installation on the bucket of the first."""
    async with installed(stack, blobs, f"{namespace}other") as other:
        yield other
