"""`slipway admin`: what operators see and order, of real services."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path

from libs.blobs import Blobs
from libs.client import AsyncClient
from tests.integration.cli.conftest import Command, Project, Start, finished
from tests.integration.cli.proxy import GatewayProxy, document
from tests.support.deployment import Deployment
from tests.support.eventually import eventually

REASON = "nats: maximum payload exceeded"


async def test_status_shows_processes_and_who_is_silent(slipway: Command, deployment: Deployment) -> None:
    with deployment.frozen("extractor"):
        shown = await slipway("admin", "status")
        status = await slipway("admin", "status", "--json")

    lines = {line.split()[0]: line for line in shown.out.splitlines()[1:]}
    assert "● no answer" in lines["extractor"]
    for service in ("gateway", "validator", "lifecycle"):
        assert "● ready" in lines[service]
    assert status.json["silent"] == ["extractor"]
    assert {each["service"] for each in status.json["services"]} == {"gateway", "validator", "lifecycle"}


async def test_refused_events_are_listed_and_retried(slipway: Command, deployment: Deployment) -> None:
    nothing = await slipway("admin", "outbox", "list")
    first, second = await given_refused(deployment), await given_refused(deployment)

    listed = await slipway("admin", "outbox", "list")
    retried = await slipway("admin", "outbox", "retry", first, "--json")
    everything = await slipway("admin", "outbox", "retry")

    assert "refused no event" in nothing.out
    assert listed.out.count(REASON) == 2
    assert first in listed.out
    assert {"service": "lifecycle", "events": 1} in retried.json["services"]
    assert "lifecycle" in everything.out
    await eventually(lambda: published(deployment, first, second))


async def test_a_replay_needs_to_be_told_of_what(slipway: Command, deployment: Deployment, model: Path) -> None:
    await slipway("upload", model, "--name", "m")
    query = "SELECT event_id FROM outbox WHERE published_at IS NOT NULL ORDER BY seq LIMIT 2"
    events = [row["event_id"] for row in await asyncio.to_thread(deployment.sql, "gateway", query)]

    refused = await slipway("admin", "replay")
    done = await slipway("admin", "replay", "--event", events[0], "--event", events[1], "--json")

    assert refused.code == 2
    assert "--since or --event" in refused.err
    assert {"service": "gateway", "events": 2} in done.json["services"]


async def test_an_upload_is_resumed(
    start: Start, slipway: Command, api: AsyncClient, deployment: Deployment, proxy: GatewayProxy, archive: Path
) -> None:
    with deployment.frozen("extractor"):
        process = await start("upload", archive, "--name", "m")
        await proxy.until(lambda: bool(proxy.sent("complete")))
        [session] = await api.uploads.list().all()
        resumed = await slipway("admin", "resume", "upload", session.session_id)
    ran = await finished(process)

    assert f"1 stream of upload {session.session_id}" in resumed.out
    assert ran.code == 0, ran.err


async def test_a_parked_model_is_listed_and_resumed(
    start: Start, slipway: Command, api: AsyncClient, deployment: Deployment, proxy: GatewayProxy, model: Path
) -> None:
    park = "UPDATE model SET status_reason = $2, parked_since = now() - interval '1 minute' WHERE id = $1"
    with deployment.frozen("validator"):
        process = await start("upload", model, "--name", "tiny")
        await proxy.until(lambda: bool(proxy.answered("200 .*models/")))
        [waiting] = await api.models.list().all()
        await asyncio.to_thread(deployment.sql, "gateway", park, waiting.id, "Storage is away.")
        listed = await slipway("admin", "parked")
        parked = await slipway("admin", "parked", "--json")
        resumed = await slipway("admin", "resume", "model", waiting.id, "--json")
    ran = await finished(process)

    for words in ("tiny", "Storage is away.", waiting.id, "ago"):
        assert words in listed.out
    assert [each["id"] for each in parked.json["parked"]] == [waiting.id]
    assert resumed.json["validation_id"]
    assert ran.code == 0, ran.err


async def test_nothing_parked_is_said(slipway: Command, proxy: GatewayProxy) -> None:
    proxy.fail("parked", document({"object": "list", "data": []}))

    nothing = await slipway("admin", "parked")

    assert "Nothing is parked." in nothing.out


async def test_without_an_audit_it_says_so(slipway: Command, proxy: GatewayProxy) -> None:
    proxy.fail("GET .*audit", document({"object": "list", "data": []}))

    none = await slipway("admin", "audit", "--last")

    assert none.code == 1
    assert "no audit yet" in none.err


async def test_an_audit_is_waited_for_and_says_what_to_do(
    slipway: Command, deployment: Deployment, project: Project, model: Path
) -> None:
    """Many objects that no model has stop it; with --fix they go."""
    await slipway("upload", model, "--name", "m")
    unknown = [f"{project.id}/objects/unknown/{number}" for number in range(40)]
    async with Blobs.open(deployment.stack.bucket_url(deployment.namespace)) as blobs:
        for key in unknown:
            await blobs.put_bytes(key, b"nobody's")

        stopped = await slipway("admin", "audit")
        fixed = await slipway("admin", "audit", "--fix", "--json")
        last = await slipway("admin", "audit", "--last", "--json")

        assert stopped.code == 0, stopped.err
        found = re.search(r"(\d+) \(.*\) that no model is known to have", stopped.out)
        assert found is not None, stopped.out
        assert int(found[1]) >= len(unknown)  # and parts of other tests' open uploads
        assert "slipway admin audit --fix" in stopped.out
        assert (fixed.json["stopped"], last.json["id"]) == (None, fixed.json["id"])

        async def gone() -> bool:
            return [info.key async for info in blobs.list(f"{project.id}/objects/unknown/")] == []

        await eventually(gone, 60)


async def given_refused(deployment: Deployment) -> str:
    """An event of lifecycle that changes nothing, and that the broker has refused. Returns: its id."""
    event_id, at = str(uuid.uuid4()), "2026-01-15T12:00:00Z"
    event = {"type": "object.unclaimed.v1", "id": event_id, "at": at, "project_id": "proj_NOBODY", "keys": []}
    await asyncio.to_thread(
        deployment.sql,
        "lifecycle",
        "INSERT INTO outbox (event_id, type, body, refused_at, refused_reason, refusals, retry_at)"
        " VALUES ($1, 'object.unclaimed.v1', $2, now(), $3, 1, now() + interval '1 hour')",
        event_id,
        json.dumps(event),
        REASON,
    )
    return event_id


async def published(deployment: Deployment, *event_ids: str) -> bool:
    """Whether lifecycle has published these events."""
    query = "SELECT 1 FROM outbox WHERE event_id = ANY($1) AND published_at IS NULL"
    return not await asyncio.to_thread(deployment.sql, "lifecycle", query, list(event_ids))
