"""What a service does while Postgres refuses work for a time: all of it goes on afterwards, and no process ends."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from deploy.local.services import NAMES
from libs.bus import Bus
from tests.integration.service.harness import as_role, send, working
from tests.support.bus import an_event
from tests.support.eventually import eventually
from tests.support.fixtures import StartService
from tests.support.postgres import read_only
from tests.support.stack import Stack


async def test_a_service_outlives_a_database_that_takes_no_writes(
    stack: Stack, namespace: str, bus: Bus, tmp_path: Path
) -> None:
    async with working(stack.postgres_url, stack, namespace, tmp_path) as parts:
        first, meanwhile = an_event(), an_event()
        await send(bus, first)
        await parts.answers(bus, first)
        async with read_only(stack):
            await eventually(lambda: _is(parts.rounds > parts.swept + 1))
            await send(bus, meanwhile)
            await parts.goes_round(20)
            assert parts.lives()
        swept = parts.swept
        await parts.answers(bus, meanwhile)
        await eventually(lambda: _is(parts.swept > swept))
        assert parts.lives()


async def test_a_service_outlives_statements_that_are_ended_for_their_time(
    stack: Stack, namespace: str, bus: Bus, tmp_path: Path, role: str
) -> None:
    operator = await asyncpg.connect(stack.postgres_url)

    async def limit(how: str) -> None:
        """The role's settings hold for new sessions, so the present ones end."""
        await operator.execute(f"ALTER ROLE {role} {how}")
        await operator.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", role)

    async with working(as_role(stack.postgres_url, role), stack, namespace, tmp_path) as parts:
        first, meanwhile = an_event(), an_event()
        await send(bus, first)
        await parts.answers(bus, first)
        await limit("SET statement_timeout = '1ms'")
        async with operator.transaction():
            await operator.execute(f'LOCK TABLE "{namespace}_service".swept')  # whatever waits for it is ended
            await send(bus, meanwhile)
            await parts.goes_round(10)
            assert parts.lives()
        await limit("RESET statement_timeout")
        swept = parts.swept
        await parts.answers(bus, meanwhile)
        await eventually(lambda: _is(parts.swept > swept))
        assert parts.lives()
    await operator.close()


async def test_no_service_ends_while_the_database_takes_no_writes(
    stack: Stack, namespace: str, start_service: StartService, tmp_path: Path
) -> None:
    settings = {"operator_key": "an-operators-key-0123456789"}
    processes = [await start_service(name, **(settings if name == "gateway" else {})) for name in NAMES]
    logs = [tmp_path / f"{name}-{number}.log" for number, name in enumerate(NAMES)]

    async def all_say(text: str) -> bool:
        assert [process.returncode for process in processes] == [None] * len(NAMES)
        return all(text in log.read_text() for log in logs)

    await eventually(lambda: all_say("listening on"), timeout_s=60)
    async with read_only(stack):
        await eventually(lambda: all_say("read-only transaction"), timeout_s=60)
    for process in processes:
        process.terminate()
    assert [await process.wait() for process in processes] == [0] * len(NAMES)


async def _is(condition: bool) -> bool:
    return condition
