"""What open uploads cost while nobody sends: on the real Postgres and NATS, by services that have nothing to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import asyncpg
import nats
import psutil

from tests.bench.rows import Figures
from tests.bench.stage import Deployed, Stage
from tests.support.tarblocks import header

CHUNK_BYTES = 64 * 1024
OPENED_AT_ONCE = 32


@dataclass(frozen=True)
class Cost:
    """A second of doing nothing."""

    transactions: float
    rows_read: float  # by sequential scans and indexes
    messages: float
    cpu: dict[str, float]  # process -> share of one core

    @property
    def cores(self) -> float:
        return sum(self.cpu.values())


async def open_uploads(stage: Stage) -> Figures:
    """Postgres transactions a second with so many open uploads, one part of each stored, beside none."""
    opened = stage.sizes.open_uploads
    async with stage.deployed("many", SLIPWAY_CHUNK_SIZE_BYTES=str(CHUNK_BYTES)) as many:
        empty = await _cost(stage, many)
        began = time.perf_counter()
        await _open(many, opened)
        rate = opened / (time.perf_counter() - began)
        await asyncio.sleep(stage.sizes.idle_s / 3)  # what their events set off ends
        full = await _cost(stage, many)
    busiest = max(full.cpu, key=lambda name: full.cpu[name] - empty.cpu[name])
    grown = full.cpu[busiest] - empty.cpu[busiest]
    limit = f"{opened / grown * (1 - empty.cpu[busiest]):,.0f}" if grown > 0.005 else f"far above {opened:,}"
    shares = ", ".join(f"{name} {share:.1%}" for name, share in full.cpu.items())
    note = (
        f"{opened:,} open uploads (opened {rate:,.0f}/s) beside none: CPU {full.cores:.2f} of {empty.cores:.2f} cores "
        f"({shares}); {full.messages:.1f} of {empty.messages:.1f} messages/s; {full.rows_read:,.0f} of "
        f"{empty.rows_read:,.0f} rows read/s; first at one core: {busiest}, at {limit}"
    )
    return Figures(full.transactions, empty.transactions, note)


async def _open(deployed: Deployed, count: int) -> None:
    """Open archives of two parts, and send the first of each."""
    project = await deployed.project()
    part = header("model.safetensors", 2 * CHUNK_BYTES - 1536) + bytes(CHUNK_BYTES - 512)
    left = iter(range(count))

    async def work(http: aiohttp.ClientSession) -> None:
        for number in left:
            body = {"model_name": f"open {number}", "archive_format": "tar", "archive_size": 2 * CHUNK_BYTES}
            session = await _asked(http, f"{project.base_url}/uploads/archive", json=body)
            await _asked(http, f"{project.base_url}/uploads/{session['session_id']}/parts?part_number=0", data=part)

    async with aiohttp.ClientSession(headers=project.headers) as http:
        await asyncio.gather(*(work(http) for _ in range(OPENED_AT_ONCE)))


async def _asked(http: aiohttp.ClientSession, url: str, **body: object) -> dict[str, object]:
    while True:
        async with http.post(url, **body) as answer:  # type: ignore[arg-type]
            if answer.status != 503:
                answer.raise_for_status()
                found: dict[str, object] = await answer.json()
                return found
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


async def _cost(stage: Stage, deployed: Deployed) -> Cost:
    """What happens in `idle_s`."""
    processes = _processes(stage, deployed)
    before, cpu_before, began = await _counted(stage), _cpu(processes), time.perf_counter()
    await asyncio.sleep(stage.sizes.idle_s)  # a rate takes time
    after, cpu_after, seconds = await _counted(stage), _cpu(processes), time.perf_counter() - began
    rates = [(last - first) / seconds for first, last in zip(before, after, strict=True)]
    cpu = {name: (cpu_after[name] - cpu_before[name]) / seconds for name in processes}
    transactions, rows_read, messages = rates
    return Cost(transactions, rows_read, messages, cpu)


def _processes(stage: Stage, deployed: Deployed) -> dict[str, psutil.Process]:
    dependencies = {name: stage.main.pid(name) for name in ("postgres", "nats")}
    services = {name: deployed.pid(name) for name in ("gateway", "extractor", "validator", "lifecycle")}
    return {name: psutil.Process(pid) for name, pid in (dependencies | services).items()}


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Seconds of CPU that each has used, its children and those of them that ended included."""
    used = {}
    for name, process in processes.items():
        each = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
        ended = each[0].children_user + each[0].children_system
        used[name] = sum(times.user + times.system for times in each) + ended
    return used


async def _counted(stage: Stage) -> tuple[float, float, float]:
    """Since the start: Postgres transactions, rows read, messages stored by NATS."""
    connection = await asyncpg.connect(stage.settings["SLIPWAY_DATABASE_URL"])
    try:
        row = await connection.fetchrow(
            "SELECT sum(xact_commit + xact_rollback) AS done, sum(tup_returned) AS returned FROM pg_stat_database"
        )
    finally:
        await connection.close()
    client = await nats.connect(stage.settings["SLIPWAY_NATS_URL"])
    try:
        streams = await client.jetstream().streams_info()
    finally:
        await client.close()
    return float(row["done"]), float(row["returned"]), float(sum(stream.state.last_seq for stream in streams))
