"""The life of a process: started in order, working until told to stop, drained, closed in reverse order."""

from __future__ import annotations

import asyncio
import logging
import random
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
from libs.signals import Signals
from libs.status import answering
from libs.tasks import unless_set
from libs.web import Principal, Readiness, Route, health_routes, make_app, serve

log = logging.getLogger("service")

# From SIGTERM to the end: unready_s and drain_s (settings), then at most the sum of these.
OVERTIME_S = 0.5  # for what puts its own work back after drain_s
LAST_S = 1.0  # for what ends last: the outbox of what has just ended
CANCEL_S = 1.0  # for what is cancelled to end
CLOSE_S = 1.0  # for closing what the work was done with
CHECK_S = 2.0  # a dependency that takes longer to answer is not ready
DEPTH_EVERY_S = 5.0

C = TypeVar("C", bound=ServiceConfig)
T = TypeVar("T")

Run = Callable[[asyncio.Event], Awaitable[None]]  # works until the event is set
Check = Callable[[], bool | Awaitable[bool]]


def run(name: str, config_type: type[C], build: Callable[[C, Service], Awaitable[None]]) -> NoReturn:
    """Run a service until SIGTERM or SIGINT: settings from the environment, `build` to put it together, then work.

    Exits with 0 when told to stop; with 1 if `build` fails or a background task dies; with a message if a setting is
    wrong.
    """
    config = load(config_type)
    telemetry.setup(name, config.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_live(Service(name, config), partial(build, config)))
    raise SystemExit(code)


class Service:
    """What a service's `build` adds its parts to."""

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
        """Open a part; it is closed after everything entered or begun later."""
        return await self._parts.enter_async_context(part)

    @property
    def drain_s(self) -> float:
        """How long, after `stop`, what is under way may take to end by itself."""
        return self.config.drain_s

    def background(self, name: str, run: Run, *, last: bool = False) -> None:
        """Run `run(stop)` from the end of `build` until `stop` is set; if it ends before, so does the process.

        `last`: until all others, and the requests under way, have ended.
        """
        (self._last if last else self._background)[name] = run

    def repeat(self, name: str, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
        """Do `work()` in the background, as `every` does."""
        self.background(name, partial(every, interval_s=interval_s, work=work, name=name))

    def ready(self, name: str, check: Check, *, required: bool = True) -> None:
        """Ask `check` for /readyz. What is not `required` is only shown: the service does part of its work without."""
        self._checks[name] = (check, required)

    def serve(self, app: web.Application) -> None:
        """Serve `app` on the configured port instead of the health routes alone, which it then has to have itself."""
        self._app = app

    def health_routes(self) -> list[Route[Any]]:
        """/livez, /readyz and /metrics of this service."""
        return health_routes(self.readiness)

    async def work(self) -> bool:
        """Serve and run every background task until `stop`, then drain. Returns False if one of them died."""
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
                log.critical("%s ended without being told to", task.get_name())
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
            await asyncio.sleep(self.config.unready_s)  # /readyz says no; who has not asked yet is still served

    async def readiness(self) -> Readiness:
        """What /readyz says."""
        answers = await asyncio.gather(*(_holds(check) for check, _ in self._checks.values()))
        checks = dict(zip(self._checks, answers, strict=True))
        required = [checks[name] for name, (_, is_required) in self._checks.items() if is_required]
        return Readiness(ready=all(required) and not self.stop.is_set(), checks=checks)


@dataclass(frozen=True, slots=True)
class Spine:
    """What every service with state has."""

    pool: Pool
    signals: Signals
    bus: Bus


def open_blobs(config: ServiceConfig) -> AbstractAsyncContextManager[Blobs]:
    """Object storage, with as many connections as the service is told."""
    return Blobs.open(config.s3_url, uploads=config.s3_uploads, downloads=config.s3_downloads, calls=config.s3_calls)


async def spine(service: Service, migrations: Path, handlers: Handlers | None = None) -> Spine:
    """Add the part that services share: schema, pool, signals, bus, relay, and a consumer for `handlers`.

    A service whose handlers have a `prepare` makes its own consumer, with what that needs. Waits until Postgres is up,
    and for nothing else.
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
    bus = await service.enter(Bus.open(config.nats_url, config.namespace, replicas=config.nats_replicas))
    await service.enter(answering(bus, pool, service.name, service.readiness))
    service.background("relay", outbox.Relay(pool, signals, bus).run, last=True)
    if handlers is not None:
        service.background("consumer", Consumer(bus, pool, handlers, drain_s=service.drain_s).run)
    service.repeat("outbox depth", DEPTH_EVERY_S, partial(_show_depth, pool))
    service.ready("postgres", partial(_answers, pool))
    service.ready("nats", bus.ready, required=False)  # work goes on without: the outbox waits
    service.ready("nats max_payload", bus.carries_events, required=False)  # smaller events go out
    return Spine(pool, signals, bus)


async def every(stop: asyncio.Event, interval_s: float, work: Callable[[], Awaitable[object]], *, name: str) -> None:
    """A sweeper's loop: `work()` now and about `interval_s` after each time it ended, until `stop`.

    The pauses vary by a tenth, so that replicas that were started together do not stay in step.

    Unavailable is logged, and the next round tries again; any other error is raised.
    """
    while not stop.is_set():
        try:
            await work()
        except Unavailable as error:
            log.warning("%s: will try again: %s", name, error)
        try:
            async with asyncio.timeout(interval_s * random.uniform(0.9, 1.1)):  # noqa: S311  # no secret
                await stop.wait()
        except TimeoutError:
            continue


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
    """Wait for `tasks` to finish, then cancel those that did not."""
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
    """Whether `check` says yes, in time."""
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
