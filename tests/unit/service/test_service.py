"""The life of a process: order of start and stop, draining, death."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from libs import service as module
from libs.config import ServiceConfig
from libs.errors import Unavailable
from libs.service import Service

CONFIG = ServiceConfig(database_url="", nats_url="", s3_url="", http_host="127.0.0.1", http_port=0, unready_s=0)
HASTY = msgspec.structs.replace(CONFIG, drain_s=0.1)


@asynccontextmanager
async def part(name: str, told: list[str]) -> AsyncIterator[str]:
    told.append(f"open {name}")
    try:
        yield name
    finally:
        told.append(f"close {name}")


def noting(name: str, told: list[str]) -> Callable[[asyncio.Event], Awaitable[None]]:
    async def run(stop: asyncio.Event) -> None:
        told.append(f"start {name}")
        await stop.wait()
        told.append(f"end {name}")

    return run


async def test_parts_are_closed_in_reverse_after_the_work_has_ended() -> None:
    told: list[str] = []
    service = Service("test", CONFIG)
    await service.enter(part("pool", told))
    await service.enter(part("bus", told))
    service.background("relay", noting("relay", told))
    service.stop.set()
    assert await service.work()
    await service.close()
    assert told == ["open pool", "open bus", "start relay", "end relay", "close bus", "close pool"]


async def test_what_ends_last_works_until_all_others_have_ended() -> None:
    told: list[str] = []
    service = Service("test", CONFIG)
    service.background("relay", noting("relay", told), last=True)

    async def slow(stop: asyncio.Event) -> None:
        await stop.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        told.append("end slow")

    service.background("slow", slow)
    service.stop.set()
    assert await service.work()
    assert told == ["start relay", "end slow", "end relay"]


@pytest.mark.parametrize("how", ["raises", "returns"])
async def test_a_background_task_that_ends_by_itself_ends_the_service(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    async def dies(_: asyncio.Event) -> None:
        if how == "raises":
            raise RuntimeError("broken")

    service = Service("test", CONFIG)
    service.background("other", noting("other", told))
    service.background("fragile", dies)
    assert not await service.work()
    assert told == ["start other", "end other"]
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.getMessage().startswith("fragile")


async def test_what_ends_because_of_the_stop_did_not_die(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    service = Service("test", CONFIG)
    for number in range(20):
        service.background(f"task {number}", noting("", told))

    async def stop_when_all_run(stop: asyncio.Event) -> None:
        assert len(told) == 20
        stop.set()

    service.background("stopper", stop_when_all_run)
    assert await service.work()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_work_that_does_not_end_in_time_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "OVERTIME_S", 0.0)
    cancelled = asyncio.Event()

    async def stubborn(_: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    service = Service("test", HASTY)
    service.background("stubborn", stubborn)
    service.stop.set()
    await asyncio.wait_for(service.work(), 5)
    assert cancelled.is_set()
    assert "stubborn did not finish in time" in caplog.text


async def test_a_part_that_does_not_close_does_not_hold_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)

    @asynccontextmanager
    async def stuck() -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    service = Service("test", CONFIG)
    await service.enter(stuck())
    await asyncio.wait_for(service.close(), 5)
    assert "closing took longer" in caplog.text


class Listening(logging.Handler):
    """Waits for the service to tell of its port."""

    def __init__(self) -> None:
        super().__init__()
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def emit(self, record: logging.LogRecord) -> None:
        if "listening" in record.getMessage():
            self.port.set_result(vars(record)["port"])


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    handler = Listening()
    logger = logging.getLogger("web")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


async def test_health_is_served_without_an_api(listening: Listening) -> None:
    """Required checks decide readiness; the others are shown. A check that fails says no."""
    answers = {"pool": True}

    async def unavailable() -> bool:
        raise Unavailable

    service = Service("test", CONFIG)
    service.ready("pool", lambda: answers["pool"])
    service.ready("bus", unavailable, required=False)
    working = asyncio.create_task(service.work())
    port = await asyncio.wait_for(listening.port, 5)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        async with client.get("/livez") as answer:
            assert answer.status == 200
        async with client.get("/readyz") as answer:
            assert answer.status == 200
            assert await answer.json() == {"ready": True, "checks": {"pool": True, "bus": False}}
        answers["pool"] = False
        async with client.get("/readyz") as answer:
            assert answer.status == 503
        async with client.get("/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert "slipway_http_requests_total" in await answer.text()
        async with client.get("/v1/models") as answer:
            assert answer.status == 404
    service.stop.set()
    assert await working
