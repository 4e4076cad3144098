"""The gateway as it is run: a process with settings from its environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local.ports import free_port
from tests.support.eventually import eventually
from tests.support.stack import Stack

ROOT = Path(__file__).parents[3]
OPERATOR_KEY = "operator-key-of-the-tests"


@dataclass
class Running:
    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(path) as answer:
            return answer.status, await answer.read()

    async def until_ready(self) -> None:
        async with asyncio.timeout(30):
            assert self.process.stderr is not None
            while b"listening on" not in await self.process.stderr.readline():
                assert self.process.returncode is None


@pytest.fixture
async def gateway(stack: Stack, namespace: str) -> AsyncIterator[Running]:
    port = free_port()
    settings = {
        "SLIPWAY_DATABASE_URL": stack.postgres_url,
        "SLIPWAY_NATS_URL": stack.nats_url,
        "SLIPWAY_S3_URL": stack.bucket_url(namespace),
        "SLIPWAY_NAMESPACE": namespace,
        "SLIPWAY_HTTP_HOST": "127.0.0.1",
        "SLIPWAY_HTTP_PORT": str(port),
        "SLIPWAY_OPERATOR_KEY": OPERATOR_KEY,
    }
    command = (sys.executable, "-m", "services.gateway")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as client:
        yield Running(process, client)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    stack.remove_bucket(namespace)


async def test_it_starts_from_nothing_serves_its_routes_and_stops_in_order(gateway: Running) -> None:
    await gateway.until_ready()
    assert (await gateway.get("/livez"))[0] == 200
    assert (await gateway.get("/readyz"))[0] == 200
    status, metrics = await gateway.get("/metrics")
    assert status == 200
    assert b"slipway_outbox_depth" in metrics
    assert (await gateway.get("/openapi.json"))[0] == 200
    async with gateway.client.post("/admin/v1/projects", json={"name": "first"}) as answer:
        project = await answer.json()
    async with gateway.client.post(f"/admin/v1/projects/{project['id']}/keys", json={}) as answer:
        key = (await answer.json())["key"]
    async with gateway.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}) as answer:
        assert answer.status == 200
    gateway.process.send_signal(signal.SIGTERM)
    _, log = await asyncio.wait_for(gateway.process.communicate(), 10)
    assert gateway.process.returncode == 0, log.decode()


async def test_without_nats_and_s3_it_is_ready_and_without_postgres_it_says_so(gateway: Running, stack: Stack) -> None:
    await gateway.until_ready()
    await stack.stop("nats")
    await stack.stop("s3")
    status, body = await gateway.get("/readyz")
    assert status == 200
    assert b'"s3":false' in body
    assert (await gateway.get("/admin/v1/projects"))[0] == 200
    await stack.stop("postgres")
    assert (await gateway.get("/readyz"))[0] == 503
    assert (await gateway.get("/livez"))[0] == 200
    async with gateway.client.get("/admin/v1/projects") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    await stack.start("postgres")
    assert (await gateway.get("/admin/v1/projects"))[0] == 200


async def test_a_running_gateway_answers_its_operator(gateway: Running) -> None:
    await gateway.until_ready()

    async def connected() -> bool:
        return b'"nats":true' in (await gateway.get("/readyz"))[1]

    await eventually(connected)
    async with gateway.client.get("/admin/v1/status") as answer:
        status = await answer.json()
    [process] = status["services"]
    assert (process["service"], process["ready"], process["refused"]) == ("gateway", True, [])
    assert {"postgres", "nats", "s3"} <= set(process["checks"])
    async with gateway.client.post("/admin/v1/audit", json={}) as answer:
        asked = await answer.json()
    for path, body, events in (
        ("outbox/retry", {}, 0),
        ("replay", {"since": asked["at"]}, 1),
        ("replay", {"event_ids": ["unknown"]}, 0),
    ):
        await eventually(lambda: published(gateway))
        async with gateway.client.post(f"/admin/v1/{path}", json=body) as answer:
            assert (await answer.json())["data"] == [{"service": "gateway", "events": events}]


async def published(gateway: Running) -> bool:
    """Whether the outbox is empty."""
    async with gateway.client.get("/admin/v1/status") as answer:
        return all(process["outbox_depth"] == 0 for process in (await answer.json())["services"])
