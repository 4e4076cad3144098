"""docs/recipes/service.md followed for a small service, which counts the models that each project registers."""

from __future__ import annotations

from tests.contracts.recipe_steps import Step

OWN = {
    "services/counter/__init__.py": '''"""The counter: how many models each project has registered.

Owns: the models that were registered, each once.
"""
''',
    "services/counter/__main__.py": '''"""`python -m services.counter`."""

from libs.service import run
from services.counter.app import build
from services.counter.config import CounterConfig

run("counter", CounterConfig, build)
''',
    "services/counter/config.py": '''"""The settings of the counter."""

from __future__ import annotations

from libs.config import DAY_S, Seconds, ServiceConfig


class CounterConfig(ServiceConfig, frozen=True, kw_only=True):
    """Settings of the counter, beside those of every service."""

    forget_after_s: Seconds = 365 * DAY_S  # how long a registration counts
''',
    "services/counter/migrations/0001_counter.sql": """CREATE TABLE counted (
    model_id      text PRIMARY KEY,
    project_id    text NOT NULL,
    registered_at timestamptz NOT NULL
);
CREATE INDEX counted_project ON counted (project_id);
CREATE INDEX counted_registered ON counted (registered_at);
""",
    "services/counter/store.py": '''"""All SQL of the counter."""

from __future__ import annotations

from datetime import datetime

from libs.db import Tx
from libs.retention import Retention

COUNTED = Retention(table="counted", key="model_id", age="registered_at")


async def add(tx: Tx, project_id: str, model_id: str, at: datetime) -> None:
    """Record a registered model, if it is not recorded."""
    await tx.execute(
        "INSERT INTO counted (model_id, project_id, registered_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        model_id,
        project_id,
        at,
    )


async def count(tx: Tx, project_id: str) -> int:
    """How many models the project has registered."""
    return int(await tx.fetchval("SELECT count(*) FROM counted WHERE project_id = $1", project_id))
''',
    "services/counter/handlers.py": '''"""Handlers of the counter's events."""

from __future__ import annotations

from libs.bus import Handlers
from libs.contracts import Event, ModelRegistered
from libs.db import Tx
from services.counter import store

handlers = Handlers("counter")


@handlers.on(ModelRegistered)
async def count_model(event: ModelRegistered, tx: Tx) -> list[Event]:
    """Count a registered model once, however often it is registered."""
    await store.add(tx, event.project_id, event.model_id, event.at)
    return []
''',
    "services/counter/dependencies.py": '''"""What the counter's parts are given."""

from __future__ import annotations

from dataclasses import dataclass

from libs.db import Pool
from services.counter.config import CounterConfig


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The counter's clients and settings."""

    config: CounterConfig
    pool: Pool
''',
    "services/counter/app.py": '''"""Puts the counter together; the only place that creates clients."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from libs.retention import forget
from libs.service import Service, connect
from services.counter import store
from services.counter.config import CounterConfig
from services.counter.dependencies import Dependencies
from services.counter.handlers import handlers

MIGRATIONS = Path(__file__).parent / "migrations"
FORGET_EVERY_S = 3600.0


async def build(config: CounterConfig, service: Service) -> None:
    """A handler that counts, and old counts that are deleted."""
    connections = await connect(service, MIGRATIONS, handlers)
    dependencies = Dependencies(config, connections.pool)
    service.repeat("forget", FORGET_EVERY_S, partial(forget_old, dependencies))


async def forget_old(dependencies: Dependencies) -> None:
    """Delete registrations that are too old to count."""
    await forget(dependencies.pool, store.COUNTED, dependencies.config.forget_after_s)
''',
}

TESTS = {
    "tests/integration/counter/__init__.py": "",
    "tests/integration/counter/test_handlers.py": '''"""Models are counted, each once."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from libs.bus import Bus
from libs.contracts import ModelRegistered, encode_event, event_type, new_id
from libs.db import connection
from services.counter import store
from services.counter.handlers import handlers
from tests.support.delivery import deliver
from tests.support.eventually import eventually
from tests.support.fixtures import PoolFor, StartService

REGISTERED = ModelRegistered(
    model_id="m", upload_id="u", project_id="p", files=[], at=datetime(2030, 1, 1, tzinfo=UTC)
)


async def test_a_model_counts_once(pool_for: PoolFor) -> None:
    pool = await pool_for("counter")
    assert await deliver(pool, handlers, REGISTERED)
    assert not await deliver(pool, handlers, REGISTERED)
    assert await deliver(pool, handlers, msgspec.structs.replace(REGISTERED, id=new_id()))
    async with connection(pool) as tx:
        assert await store.count(tx, "p") == 1


async def test_the_process_counts(start_service: StartService, pool_for: PoolFor, bus: Bus) -> None:
    process = await start_service("counter")
    await bus.session()
    await bus.publish(event_type(REGISTERED), encode_event(REGISTERED), {}, REGISTERED.id)
    pool = await pool_for("counter")

    async def counted() -> bool:
        async with connection(pool) as tx:
            return await store.count(tx, "p") == 1

    await eventually(counted)
    process.terminate()
    assert await process.wait() == 0
''',
}

# Files beside the service's own folder and its tests
ELSEWHERE = (
    Step("deploy/local/services.py", '"lifecycle")', '"lifecycle", "counter")'),
    Step(
        "README.md",
        "[lifecycle](services/lifecycle);",
        "[lifecycle](services/lifecycle), [counter](services/counter);",
    ),
    Step("docs/architecture.md", "", "\nThe counter knows how many models each project has registered.\n"),
)

REMINDERS = (
    "deploy/local/services.py: NAMES has no counter",
    "README.md does not name counter",
    "docs/architecture.md does not name counter",
    "tests/integration/counter has no tests",
)
