"""Validation is claimed by lease, fairly; an error of ours puts it off, and never ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from libs.blobs import Blobs
from libs.contracts import ModelValidated, ModelValidationParked, ModelValidationRequested, new_id
from libs.db import transaction
from libs.errors import ObjectNotFound, Unavailable
from services.validator import store
from services.validator.store import Claim
from tests.integration.blobs.faulty import Fault, FaultyProxy, Streams, passed_on
from tests.integration.validator.harness import NOON, Validator
from tests.support.models import given_llama
from tests.support.outbox import emitted
from tests.support.stack import Stack

Connect = Callable[[], Awaitable[Streams]]

ROWS = 100_000
REFUSED = "refused"  # a folder of storage, every object of which it refuses


def refusing(folder: str) -> Fault:
    """Storage answers 500 for every key in `folder`, for ever, and each request on a connection of its own."""

    async def fault(client: Streams, connect: Connect) -> None:
        head = await client[0].readuntil(b"\r\n\r\n")
        if f"/{folder}/".encode() in head.split(b"\r\n")[0]:
            client[1].write(b"HTTP/1.1 500 Internal\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await client[1].drain()
            return
        server = await connect()
        server[1].write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

        async def connected() -> Streams:
            return server

        await passed_on(client, connected)

    return fault


async def claim(validator: Validator, limit: int, owner: str = "a process") -> list[Claim]:
    async with transaction(validator.pool) as tx:
        return await store.claim(tx, owner, limit, 60)


def request(project_id: str) -> ModelValidationRequested:
    return ModelValidationRequested(at=NOON, model_id=new_id(), project_id=project_id, validation_id=new_id(), files=[])


async def test_150_models_that_storage_refuses_delay_no_other(
    validator: Validator, stack: Stack, namespace: str
) -> None:
    """Good ones of another project are through before the refused ones were all tried once; good ones of the same
    project, asked for last, before any was tried four times; and no model is rejected."""
    refused = [await validator.model({"config.json": b"{}"}, folder=REFUSED) for _ in range(150)]
    others = [await validator.model(given_llama(seed=seed), project_id="q") for seed in range(5)]
    same = [await validator.model(given_llama(seed=seed)) for seed in range(5)]
    await validator.ask(*refused, *others, *same)
    async with FaultyProxy.open(stack.bucket_url(namespace)) as (proxy, url), Blobs.open(url) as blobs:
        await proxy.arm(*[refusing(REFUSED)] * 100_000)
        async with validator.working(blobs, max_validations=24, max_fetches=48, first_pause_s=1):
            for each in others:
                assert isinstance(await validator.outcome(each), ModelValidated)
            assert (
                await validator.pool.fetchval("SELECT count(*) FROM validation WHERE fence > 0 AND project_id = 'p'")
                < 150
            )
            for each in same:
                assert isinstance(await validator.outcome(each), ModelValidated)
            assert await validator.pool.fetchval("SELECT max(fence) FROM validation") <= 3

    assert len(await emitted(validator.pool)) == 10
    assert await validator.pool.fetchval("SELECT count(*) FROM validation WHERE leased_by IS NULL") == 150


async def test_the_project_with_the_fewest_under_way_goes_first(validator: Validator) -> None:
    await validator.ask(*[request("large") for _ in range(50)])
    await claim(validator, 3)
    small = [request("small") for _ in range(5)]
    await validator.ask(*small)

    assert [each.project_id for each in await claim(validator, 3)] == ["small"] * 3
    assert sorted(each.project_id for each in await claim(validator, 4)) == ["large", "large", "small", "small"]


async def test_of_one_project_the_oldest_goes_first_and_repeated_tries_last(validator: Validator) -> None:
    requests = [request("p") for _ in range(4)]
    await validator.ask(*requests[:3])
    [first] = await claim(validator, 1)
    async with transaction(validator.pool) as tx:
        await store.postpone(tx, first, "", 0)
    await validator.ask(requests[3])

    order = [(await claim(validator, 1))[0].validation_id for _ in range(4)]

    assert order == [each.validation_id for each in (*requests[1:], requests[0])]


async def test_racing_processes_claim_each_validation_once(validator: Validator) -> None:
    requests = [request(f"project {number % 3}") for number in range(20)]
    await validator.ask(*requests)

    claimed: list[str] = []
    while len(claimed) < 20:
        rounds = await asyncio.gather(*(claim(validator, 7, f"process {number}") for number in range(6)))
        claimed += [each.validation_id for some in rounds for each in some]

    assert sorted(claimed) == sorted(each.validation_id for each in requests)


async def test_a_claim_of_many_rows_is_on_an_index(validator: Validator) -> None:
    """100,000 validations of 200 projects, a third of them parked; a claim touches some of each project."""
    await validator.pool.execute(
        """
        INSERT INTO validation (validation_id, model_id, project_id, files, state, attempts, not_before)
        SELECT n::text, 'm', 'project ' || n % 200, '[]', CASE n % 3 WHEN 0 THEN 'parked' ELSE 'queued' END, n % 2,
               now() - make_interval(secs => n) + CASE n % 3 WHEN 0 THEN interval '1 year' ELSE interval '0' END
          FROM generate_series(1, $1) AS n
        """,
        ROWS,
    )
    await validator.pool.execute("ANALYZE validation")
    async with transaction(validator.pool) as tx:
        claims = await store.claim(tx, "warm", 4, 60)
        [[claimed]] = await tx.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {_inlined(store.CLAIM)}")
        [[due]] = await tx.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {store.NEXT_CLAIM}")

    assert len({each.project_id for each in claims}) == 4
    for plan in (claimed, due):
        nodes = list(_nodes(json.loads(plan)[0]["Plan"]))
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], plan
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes if "Index" in node["Node Type"])
        assert read <= 200 * (1 + 2 * 4) + 20, plan


def _inlined(statement: str) -> str:
    return statement.replace("$1", "'a process'").replace("$2", "4").replace("$3", "60.0")


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


async def test_an_object_that_comes_late_is_waited_for(validator: Validator) -> None:
    late = await validator.model(given_llama())
    missing = late.files[0]
    validator.storage.errors[missing.key] = ObjectNotFound()
    async with validator.working():
        await validator.ask(late)
        await validator.until_put_off(late)
        validator.storage.errors.clear()

        assert isinstance(await validator.outcome(late), ModelValidated)


async def test_beyond_its_budget_it_is_parked_and_says_which_file_is_missing(validator: Validator) -> None:
    late = await validator.model(given_llama())
    validator.storage.errors[late.files[0].key] = ObjectNotFound()
    async with validator.working(max_attempts=3):
        await validator.ask(late)
        parked = await validator.parked(late)
        reads = validator.storage.reads.count(late.files[0].key)
        await validator.ask_again(late)
        again = await validator.parked(late, times=2)

    assert parked.reason == "config.json: its object is not in storage."
    assert (parked.retry_at - parked.at).total_seconds() > 3000
    assert reads == 3
    assert (again.reason, again.retry_at) == (parked.reason, parked.retry_at)


async def test_an_error_that_nobody_foresaw_parks_it_too(validator: Validator) -> None:
    late = await validator.model(given_llama())
    validator.storage.errors[late.files[1].key] = RuntimeError("a bug")
    async with validator.working(max_attempts=2):
        await validator.ask(late)

        assert (await validator.parked(late)).reason == "The model could not be checked (RuntimeError: a bug)."


async def test_a_parked_validation_is_tried_again_by_itself_with_growing_pauses(validator: Validator) -> None:
    late = await validator.model(given_llama())
    validator.storage.errors[late.files[0].key] = Unavailable("out of order")
    async with validator.working(max_attempts=2, first_park_s=0.2):
        await validator.ask(late)
        parked = [await validator.parked(late, times=times) for times in (1, 2, 3)]
        validator.storage.errors.clear()

        assert isinstance(await validator.outcome(late), ModelValidated)
    pauses = [round((each.retry_at - each.at).total_seconds(), 1) for each in parked]
    assert pauses == sorted(set(pauses))
    assert validator.storage.reads.count(late.files[0].key) == 2 + 1 + 1 + 1  # one more try each time


async def test_an_operator_resumes_what_is_parked_at_once(validator: Validator) -> None:
    late = await validator.model(given_llama())
    validator.storage.errors[late.files[0].key] = Unavailable("out of order")
    async with validator.working(max_attempts=1):
        await validator.ask(late)
        await validator.parked(late)
        validator.storage.errors.clear()
        await validator.ask_again(late, resume=True)

        assert isinstance(await validator.outcome(late), ModelValidated)


async def test_a_model_that_ends_its_process_each_time_is_parked(validator: Validator) -> None:
    deadly = await validator.model(given_llama())
    await validator.ask(deadly)
    await validator.pool.execute("UPDATE validation SET attempts = 8")
    async with validator.working():
        assert "did not survive" in (await validator.parked(deadly)).reason


async def test_a_stopped_process_gives_its_leases_back_at_once(validator: Validator) -> None:
    """As at SIGTERM: the next one need not wait for a lease of an hour, and the attempt does not count."""
    model = await validator.model(given_llama())
    await validator.ask(model)
    validator.storage.gate.clear()
    async with validator.working(lease_s=3600):
        await validator.storage.arrived.wait()
    assert tuple(await validator.pool.fetchrow("SELECT attempts, leased_by FROM validation")) == (0, None)
    validator.storage.gate.set()
    async with validator.working(lease_s=3600):
        assert isinstance(await validator.outcome(model), ModelValidated)


async def test_who_lost_the_lease_stops_and_changes_nothing(validator: Validator) -> None:
    """A process that was paused for too long finds its model in other hands."""
    model = await validator.model(given_llama())
    await validator.ask(model)
    validator.storage.gate.clear()
    async with validator.working(lease_s=3, first_patience_s=60):
        await validator.storage.arrived.wait()
        [task] = [task for task in asyncio.all_tasks() if task.get_name().startswith("validation ")]
        await validator.pool.execute(
            "UPDATE validation SET fence = fence + 1, leased_by = 'other', not_before = now() + interval '1 hour'"
        )
        await asyncio.wait([task], timeout=30)
        assert task.cancelled()
        validator.storage.gate.set()

    assert await emitted(validator.pool) == []
    assert await validator.pool.fetchval("SELECT leased_by FROM validation") == "other"


async def test_a_lease_that_expired_while_postgres_was_away_is_kept_unless_it_was_taken(
    validator: Validator,
) -> None:
    model = await validator.model(given_llama())
    await validator.ask(model)
    [held] = await claim(validator, 1)
    await validator.pool.execute("UPDATE validation SET not_before = now() - interval '1 hour'")
    async with transaction(validator.pool) as tx:
        lease = (held.key, held.fence)
        assert await store.LEASES.renew(tx, "a process", [lease], 60) == {lease}
    assert await claim(validator, 1) == []

    await validator.pool.execute("UPDATE validation SET not_before = now() - interval '1 hour'")
    [taken] = await claim(validator, 1, "another")
    async with transaction(validator.pool) as tx:
        assert await store.LEASES.renew(tx, "a process", [(held.key, held.fence)], 60) == set()
        assert await store.park(tx, held, "", 1, 1) is None
        await store.release(tx, held)
        await store.postpone(tx, held, "", 0)
    assert await validator.pool.fetchval("SELECT fence FROM validation WHERE leased_by = 'another'") == taken.fence


async def test_a_verdict_is_recorded_although_postgres_restarts_just_then(validator: Validator, stack: Stack) -> None:
    model = await validator.model(given_llama())
    await validator.ask(model)
    validator.storage.gate.clear()
    async with validator.working(lease_s=60):
        await validator.storage.arrived.wait()
        await stack.kill("postgres")
        validator.storage.gate.set()
        await stack.start("postgres")
        assert isinstance(await validator.patient_outcome(model), ModelValidated)
    assert not any(isinstance(event, ModelValidationParked) for event in await emitted(validator.pool))
