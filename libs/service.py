"""Runs a service as a process: starts its parts in order, drains on SIGTERM, closes the parts in reverse order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import uvloop
from aiohttp import web

from libs import db, outbox, telemetry
from libs.blobs import Blobs
from libs.bus import Bus, Consumer, Handlers
from libs.config import ServiceConfig, load, schema_name
from libs.db import Pool
from libs.errors import Unauthenticated, Unavailable
from libs.periodic import repeat
from libs.signals import Signals
from libs.status import answering
from libs.tasks import unless_set
from libs.web import Principal, Readiness, Route, health_routes, make_app, serve

log = logging.getLogger("service")

# From SIGTERM to the end: unready_s and drain_s (settings), then at most the sum of these.
OVERTIME_S = 0.5  # for tasks that put their own work back after drain_s
LAST_S = 1.0  # for tasks that end last: the relay of the outbox
CANCEL_S = 1.0  # for cancelled tasks to end
CLOSE_S = 1.0  # for closing clients
CHECK_S = 2.0  # a dependency that takes longer to answer is not ready
DEPTH_EVERY_S = 5.0

C = TypeVar("C", bound=ServiceConfig)
T = TypeVar("T")

Run = Callable[[asyncio.Event], Awaitable[None]]  # works until the event is set
Check = Callable[[], bool | Awaitable[bool]]


def run(name: str, config_type: type[C], build: Callable[[C, Service], Awaitable[None]]) -> NoReturn:
    """Run a service until SIGTERM or SIGINT: read its settings from the environment, call `build`, then work.

    Exits with 0 after a signal, with 1 if `build` fails or a background task dies, and with a message if a setting is
    wrong.
    """
    config = load(config_type)
    telemetry.setup(name, config.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_live(Service(name, config), partial(build, config)))
    raise SystemExit(code)


class Service:
    """The process that a service's `build` adds parts, background tasks and checks to."""

    def __init__(self, name: str, config: ServiceConfig) -> None:
        self.name = name
        self.config = config
        self.stop = asyncio.Event()
        self._parts = AsyncExitStack()
        self._background: dict[str, Run] = {}
        self._last: dict[str, Run] = {}
        self._drained = asyncio.Event()
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._app: web.Application | None = None

    async def enter(self, part: AbstractAsyncContextManager[T]) -> T:
        """Open a part, such as a client. Parts are closed in reverse order, after all background tasks have ended."""
        return await self._parts.enter_async_context(part)

    @property
    def drain_s(self) -> float:
        """Seconds that running work may take to finish after `stop` is set."""
        return self.config.drain_s

    def background(self, name: str, run: Run, *, last: bool = False) -> None:
        """Run `run(stop)` from the end of `build` until `stop` is set. If it ends before that, so does the process.

        `last`: keep it running until all other tasks, and the requests being answered, have ended.
        """
        (self._last if last else self._background)[name] = run

    def repeat(self, name: str, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work()` in the background now and every `interval_s` seconds, see `libs.periodic.repeat`."""
        self.background(name, partial(repeat, work=work, interval_s=interval_s, name=name))

    def ready(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check to /readyz. One that is not `required` is shown, and the service is ready without it."""
        self._checks[name] = (check, required)

    def serve(self, app: web.Application) -> None:
        """Serve `app` on the configured port. It has to include `health_routes`, which are served alone otherwise."""
        self._app = app

    def health_routes(self) -> list[Route[Any]]:
        """/livez, /readyz and /metrics of this service."""
        return health_routes(self.readiness)

    async def work(self) -> bool:
        """Serve HTTP and run every background task until `stop`, then drain. Returns False if one of them died."""
        first = _tasks({"http": self._serve_http, **self._background}, self.stop)
        last = _tasks(self._last, self._drained)
        tasks = [*first, *last]
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        died = [task for task in tasks if task.done() and not self.stop.is_set()]
        self.stop.set()
        await stopping
        log.info("stopping")
        await _drain(first, self.config.unready_s + self.config.drain_s + OVERTIME_S)
        self._drained.set()
        await _drain(last, LAST_S)
        failures = {task: error for task in tasks if (error := _error_of(task)) is not None}
        for task, error in failures.items():
            log.critical("%s died: %s", task.get_name(), error, exc_info=error)
        for task in died:
            if task not in failures:
                log.critical("%s ended before the service was stopped", task.get_name())
        return not died and not failures

    async def close(self) -> None:
        """Close every part, the last entered first."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._parts.aclose()
        except TimeoutError:
            log.warning("closing took longer than %s s; leaving it at that", CLOSE_S)

    async def _serve_http(self, stop: asyncio.Event) -> None:
        app = self._app or make_app(self.health_routes(), authenticate=_nobody, dependencies=None, title=self.name)
        async with serve(app, self.config.http_host, self.config.http_port, drain_s=self.config.drain_s):
            await stop.wait()
            await asyncio.sleep(self.config.unready_s)  # /readyz says no; load balancers see it meanwhile

    async def readiness(self) -> Readiness:
        """The answer of /readyz."""
        answers = await asyncio.gather(*(_holds(check) for check, _ in self._checks.values()))
        checks = dict(zip(self._checks, answers, strict=True))
        required = [checks[name] for name, (_, is_required) in self._checks.items() if is_required]
        return Readiness(ready=all(required) and not self.stop.is_set(), checks=checks)


@dataclass(frozen=True, slots=True)
class Connections:
    """What `connect` opens for a service."""

    pool: Pool
    signals: Signals
    bus: Bus


def open_blobs(config: ServiceConfig) -> AbstractAsyncContextManager[Blobs]:
    """A client of object storage, of one tier or two, with the numbers of connections of the settings."""
    return Blobs.open(
        config.s3_url,
        cold_url=config.s3_cold_url,
        uploads=config.s3_uploads,
        downloads=config.s3_downloads,
        calls=config.s3_calls,
    )


async def connect(service: Service, migrations: Path, handlers: Handlers | None = None) -> Connections:
    """Connect a service to its database and the bus: schema, pool, signals, bus, relay, and a consumer of `handlers`.

    A service whose handlers have a `prepare` adds a consumer of its own, with the context for it. Waits until Postgres
    is up, and for nothing else.
    """
    config = service.config
    schema = schema_name(config.namespace, service.name)
    direct_url = config.database_direct_url or config.database_url
    await db.migrate(direct_url, schema, outbox.MIGRATIONS, migrations)
    has_pooler = config.database_direct_url is not None
    prepared = config.database_prepared or not has_pooler
    pool = await service.enter(
        await db.open_pool(config.database_url, schema, size=config.db_pool_size, pooler=has_pooler, prepared=prepared)
    )
    signals = await service.enter(Signals.open(direct_url, schema))
    max_bytes = {"EVENTS": config.nats_events_bytes, "DEAD": config.nats_dead_bytes}
    bus = await service.enter(
        Bus.open(config.nats_url, config.namespace, replicas=config.nats_replicas, max_bytes=max_bytes)
    )
    await service.enter(answering(bus, pool, service.name, service.readiness))
    service.background("relay", outbox.Relay(pool, signals, bus).run, last=True)
    if handlers is not None:
        service.background("consumer", Consumer(bus, pool, handlers, drain_s=service.drain_s).run)
    service.repeat("outbox depth", DEPTH_EVERY_S, partial(_show_depth, pool))
    service.ready("postgres", partial(_answers, pool))
    service.ready("nats", bus.ready, required=False)  # events wait in the outbox meanwhile
    service.ready("nats max_payload", bus.carries_events, required=False)  # smaller events go out
    return Connections(pool, signals, bus)


async def _live(service: Service, build: Callable[[Service], Awaitable[None]]) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop.set)
    try:
        await unless_set(service.stop, _built(service, build))
        healthy = service.stop.is_set() or await service.work()
    finally:
        await service.close()
    log.info("stopped")
    return 0 if healthy else 1


async def _built(service: Service, build: Callable[[Service], Awaitable[None]]) -> None:
    log.info("starting")
    await build(service)


async def _begin(run: Run, stop: asyncio.Event) -> None:
    await run(stop)


def _tasks(runs: Mapping[str, Run], stop: asyncio.Event) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_begin(run, stop), name=name) for name, run in runs.items()]


async def _drain(tasks: list[asyncio.Task[None]], within_s: float) -> None:
    """Wait for `tasks` to finish, at most `within_s`; then cancel those that did not."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=within_s)
    for task in late:
        log.warning("%s did not finish in time and is cancelled", task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCEL_S)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _holds(check: Check) -> bool:
    """Whether `check` returns True within CHECK_S."""
    try:
        async with asyncio.timeout(CHECK_S):
            answer = check()
            return await answer if isawaitable(answer) else answer
    except (Unavailable, TimeoutError):
        return False


async def _answers(pool: Pool) -> bool:
    async with db.connection(pool) as tx:
        return bool(await tx.fetchval("SELECT true"))


async def _show_depth(pool: Pool) -> None:
    depth, refused = await outbox.depth_and_refused(pool)
    telemetry.outbox_depth.set(depth)
    telemetry.outbox_refused.set(refused)


async def _nobody(_: str) -> Principal:
    raise Unauthenticated
