"""What tests are given: the embedded stack once a session, and in it a place of their own once a test."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from libs import db
from libs.blobs import Blobs
from libs.bus import Bus
from libs.config import schema_name
from libs.db import Pool
from libs.signals import Signals
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
OUTBOX_MIGRATIONS = ROOT / "libs" / "outbox" / "migrations"

PoolFor = Callable[[str], Awaitable[Pool]]
SignalsFor = Callable[[str], Awaitable[Signals]]
StartService = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Postgres, NATS and S3, running; started by the first test that asks."""
    stack = Stack()
    try:
        stack.heal()
        yield stack
    finally:
        stack.close()


@pytest.fixture(autouse=True)
def _healed_stack(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that may have hurt the stack, everything runs again."""
    yield
    if "stack" in request.fixturenames:
        stack: Stack = request.getfixturevalue("stack")
        stack.heal()


@pytest.fixture
async def namespace(stack: Stack) -> AsyncIterator[str]:
    """A prefix for schemas and streams that no other test has; the schemas go with the test."""
    name = f"t{secrets.token_hex(5)}"
    yield name
    connection = await asyncpg.connect(stack.postgres_url)
    try:
        schemas = await connection.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", name)
        for (schema,) in schemas:
            await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    finally:
        await connection.close()


@pytest.fixture
async def pool_for(stack: Stack, namespace: str) -> AsyncIterator[PoolFor]:
    """`await pool_for("extractor")`: a pool in that service's own, migrated, empty schema; asked again, the same."""
    pools: dict[str, Pool] = {}

    async def pool_for(service: str) -> Pool:
        if service not in pools:
            schema = schema_name(namespace, service)
            migrations = (OUTBOX_MIGRATIONS, ROOT / "services" / service / "migrations")
            await db.migrate(stack.postgres_url, schema, *migrations)
            pools[service] = await db.open_pool(stack.postgres_url, schema)
        return pools[service]

    yield pool_for
    for pool in pools.values():
        await pool.close()


@pytest.fixture
async def signals_for(stack: Stack, namespace: str) -> AsyncIterator[SignalsFor]:
    """`await signals_for("extractor")`: the signals of that service's schema."""
    async with AsyncExitStack() as opened:

        async def signals_for(service: str) -> Signals:
            return await opened.enter_async_context(Signals.open(stack.postgres_url, schema_name(namespace, service)))

        yield signals_for


@pytest.fixture
async def bus(stack: Stack, namespace: str) -> AsyncIterator[Bus]:
    """A bus whose streams no other test sees."""
    async with Bus.open(stack.nats_url, namespace) as bus:
        yield bus


@pytest.fixture
async def start_service(stack: Stack, namespace: str, tmp_path: Path) -> AsyncIterator[StartService]:
    """`await start_service("extractor", lease_s=2)`: that service as a process, killed if it still runs at the end."""
    started: list[asyncio.subprocess.Process] = []

    async def start(service: str, **settings: object) -> asyncio.subprocess.Process:
        told = {
            "database_url": stack.postgres_url,
            "nats_url": stack.nats_url,
            "s3_url": stack.bucket_url(namespace),
            "namespace": namespace,
            "http_host": "127.0.0.1",
            "http_port": 0,
            "unready_s": 0,  # no load balancer looks
            **settings,
        }
        environment = {f"SLIPWAY_{name.upper()}": str(value) for name, value in told.items()}
        with (tmp_path / f"{service}-{len(started)}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"services.{service}", cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def blobs(stack: Stack, namespace: str) -> AsyncIterator[Blobs]:
    """An empty bucket, removed after the test with all that is in it."""
    async with Blobs.open(stack.bucket_url(namespace)) as blobs:
        yield blobs
    stack.remove_bucket(namespace)
