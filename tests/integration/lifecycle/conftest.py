"""Lifecycle's parts on real Postgres and a real S3 server, driven by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
import pytest

from libs.blobs import Blobs
from libs.contracts import Event, event_type
from libs.db import Pool
from libs.outbox import apply_once
from libs.signals import Signals
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.handlers import handlers
from services.lifecycle.purging import PurgeWorker
from services.lifecycle.reconciling import Reconciler, request_reconciliation
from tests.support.fixtures import PoolFor, SignalsFor
from tests.support.stack import Stack


@dataclass
class Lifecycle:
    """The service without its process."""

    pool: Pool
    blobs: Blobs
    signals: Signals
    config: LifecycleConfig

    async def handle(self, *events: Event) -> None:
        """Apply events as the bus would."""
        for event in events:
            route = handlers.events[event_type(event)]
            await apply_once(self.pool, handlers.service, route.handle, event)

    def worker(self) -> PurgeWorker:
        return PurgeWorker(self.pool, self.blobs, self.signals, self.config)

    def reconciler(self, **settings: object) -> Reconciler:
        return Reconciler(self.pool, self.blobs, self.signals, msgspec.structs.replace(self.config, **settings))

    async def purge(self) -> None:
        """Do every pass of every purge, however far off it is."""
        worker, stop = self.worker(), asyncio.Event()
        while await self.pool.fetchval("SELECT count(*) FROM purge"):
            await self.pool.execute("UPDATE purge SET due_at = now()")
            assert await worker.purge_next(stop)
            assert not await self.pool.fetchval("SELECT count(*) FROM purge WHERE failures > 0")

    async def reconcile(self, **settings: object) -> None:
        """Compare now; whatever is in storage counts as old."""
        await request_reconciliation(self.pool)
        settings = {"orphan_after_s": -60} | settings
        assert await self.reconciler(**settings).reconcile_if_due(asyncio.Event())


@pytest.fixture
async def lifecycle(stack: Stack, pool_for: PoolFor, signals_for: SignalsFor, blobs: Blobs) -> Lifecycle:
    config = LifecycleConfig(database_url=stack.postgres_url, nats_url=stack.nats_url, s3_url=stack.s3_url, poll_s=0.05)
    return Lifecycle(await pool_for("lifecycle"), blobs, await signals_for("lifecycle"), config)
