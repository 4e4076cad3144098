"""Requests per second: never more than the limit within a second, over all gateways."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter

import pytest

from libs.db import connection
from services.gateway.limits import store
from services.gateway.limits.rate import Rates
from services.gateway.limits.terms import Limits
from services.gateway.projects.access import ProjectKey
from tests.integration.gateway.harness import PROJECT, Uploads
from tests.integration.gateway.limits.harness import KEY_LIMITS, Limited
from tests.integration.gateway.serving import KEY, serving
from tests.support.plans import counted

GATEWAYS = 3


def key_of(project_id: str = PROJECT, **limits: int) -> ProjectKey:
    return ProjectKey(project_id=project_id, key_id="key", scopes=frozenset({"models"}), limits=Limits(**limits))


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_over_several_gateways_no_more_pass_in_a_second_than_the_limit(uploads: Uploads, limit: int) -> None:
    """Every gateway asks as fast as it can for three seconds; what passed is counted by Postgres' seconds."""
    gateways = [Rates(uploads.pool) for _ in range(GATEWAYS)]
    passed: Counter[int] = Counter()
    ends_at = time.monotonic() + 3

    async def ask(rates: Rates) -> None:
        while time.monotonic() < ends_at:
            before, admission = time.time(), await rates.admit(key_of(requests_per_second=limit))
            if admission.refusal is None:
                passed[int(before)] += 1 if int(before) == int(time.time()) else 0
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(rates) for rates in gateways for _ in range(4)))

    assert max(passed.values()) <= limit  # Postgres runs on this machine: its seconds are ours
    assert sum(passed.values()) >= 1  # how many depends on the machine


async def test_the_one_request_too_many_is_answered_as_documented(limited: Limited) -> None:
    await limited.set(requests_per_second=2)
    answers = []
    async with serving(limited.dependencies, token=KEY) as other:
        for n in range(8):
            client = (limited.client, other)[n % 2]
            async with client.get("/v1/usage") as response:
                answers.append((response.status, dict(response.headers), await response.json()))

    status, headers, body = next(each for each in answers if each[0] == 429)
    assert body["error"]["type"] == "rate_limit_error"
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert f"slipway admin limits set {PROJECT} requests_per_second=" in body["error"]["message"]
    assert (body["error"]["limit"], body["error"]["maximum"]) == ("requests_per_second", 2)
    assert (headers["Retry-After"], headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("1", "2", "0")
    assert status == 429
    first = next(headers for status, headers, _ in answers if status == 200)
    assert first["RateLimit-Limit"] == "2"
    assert first["RateLimit-Reset"] == "1"
    assert int(first["RateLimit-Remaining"]) in (0, 1)


async def test_the_limits_of_a_key_and_of_its_project_both_hold(limited: Limited) -> None:
    await limited.set(requests_per_second=1000)
    await limited.set(KEY_LIMITS, requests_per_second=1)

    refused = 0
    for _ in range(20):
        async with limited.client.get("/v1/usage") as response:
            if response.status == 429:
                refused += 1
                assert "--key key requests_per_second=" in (await response.json())["error"]["message"]
                assert response.headers["RateLimit-Limit"] == "1"
    assert refused


async def test_a_refused_body_is_not_read(limited: Limited) -> None:
    """A client that waits for `100 Continue` gets the refusal instead, and sends nothing."""
    session = (await limited.open_archive(1000))["session_id"]
    await limited.set(requests_per_second=1)
    statuses = set()
    for _ in range(10):
        async with limited.client.post(
            f"/v1/uploads/{session}/parts?part_number=0", data=io.BytesIO(bytes(1000)), expect100=True
        ) as response:
            statuses.add(response.status)
            await response.read()
    assert 429 in statuses


async def test_health_routes_and_the_operator_are_not_limited(limited: Limited) -> None:
    await limited.set(requests_per_second=1)
    for _ in range(5):
        await limited.show()
        async with limited.client.get("/openapi.json") as response:
            assert response.status == 200
            assert "RateLimit-Limit" not in response.headers


async def test_without_a_limit_no_statement_is_sent_and_with_one_few(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates(uploads.pool)
    with counted(monkeypatch) as none:
        for _ in range(100):
            await rates.admit(key_of())
    with counted(monkeypatch) as some:
        admissions = [await rates.admit(key_of(requests_per_second=100_000)) for _ in range(1000)]

    assert none.statements == []
    assert all(each.refusal is None for each in admissions)
    assert len(some.statements) <= 3  # blocks of 10,000; a second may end meanwhile


async def test_the_row_goes_with_the_limit(limited: Limited) -> None:
    await limited.set(requests_per_second=1000)
    await limited.usage()
    await limited.set(requests_per_second=None)

    async with connection(limited.pool) as tx:
        assert await tx.fetchval("SELECT count(*) FROM request_window") == 0


async def test_a_statement_of_the_second_before_takes_from_the_later_one(uploads: Uploads) -> None:
    """It may have waited for the row, which another gateway had moved on meanwhile."""
    async with connection(uploads.pool) as tx:
        await store.take_requests(tx, "key", 5)
        await tx.execute("UPDATE request_window SET second = second + 1")
        ahead = await store.take_requests(tx, "key", 5)
        await tx.execute("UPDATE request_window SET second = second + 1000")
        of_another_clock = await store.take_requests(tx, "key", 5)

    assert ahead.taken == 10
    assert of_another_clock.taken == 5


async def test_many_subjects_do_not_fill_the_memory(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.limits.rate.REMEMBERED", 10)
    rates = Rates(uploads.pool)
    for n in range(40):
        await rates.admit(key_of(f"proj_{n}", requests_per_second=10))
        for block in rates._blocks.values():
            block.ends_at = 0.0

    assert len(rates._blocks) <= 10
