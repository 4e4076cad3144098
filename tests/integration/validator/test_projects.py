"""Limits of projects hold over all processes, and deleted projects leave no row."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from libs.contracts import ModelValidationRequested, ProjectDeleted, ProjectLimited, new_id
from libs.db import transaction
from services.validator import app, store
from services.validator.app import remove_deleted
from services.validator.facts import FactsKey
from services.validator.handlers import handlers
from tests.integration.validator.harness import NOON, Validator
from tests.support.delivery import deliver
from tests.support.plans import recorded, sequential_scans


def limited(at_once: int | None, hours: int = 0, project_id: str = "p") -> ProjectLimited:
    return ProjectLimited(project_id=project_id, validations_at_once=at_once, at=NOON + timedelta(hours=hours))


async def given_requests(validator: Validator, count: int, project_id: str = "p") -> None:
    for _ in range(count):
        asked = ModelValidationRequested(
            at=NOON, model_id=new_id(), project_id=project_id, validation_id=new_id(), files=[]
        )
        await deliver(validator.pool, handlers, asked)


async def claimed(validator: Validator, room: int, owner: str = "one") -> list[str]:
    async with transaction(validator.pool) as tx:
        return [claim.project_id for claim in await store.claim(tx, owner, room, 60)]


async def test_no_more_of_a_project_are_validated_at_a_time_than_its_limit(validator: Validator) -> None:
    await given_requests(validator, 8)
    await given_requests(validator, 3, "q")
    await deliver(validator.pool, handlers, limited(2))
    first = await claimed(validator, 10)
    second = await claimed(validator, 10)

    assert sorted(first) == ["p", "p", "q", "q", "q"]
    assert second == []

    async with transaction(validator.pool) as tx:
        await tx.execute(
            """
            DELETE FROM validation
             WHERE validation_id = (SELECT validation_id FROM validation
                                     WHERE project_id = 'p' AND leased_by IS NOT NULL LIMIT 1)
            """
        )
    assert await claimed(validator, 10) == ["p"]  # one has ended

    await deliver(validator.pool, handlers, limited(None, hours=1))
    assert len(await claimed(validator, 10)) == 5


async def test_claims_that_race_do_not_pass_the_limit_together(validator: Validator) -> None:
    await given_requests(validator, 30)
    await deliver(validator.pool, handlers, limited(4))

    taken = await asyncio.gather(*(claimed(validator, 3, f"process {number}") for number in range(8)))

    assert sum(map(len, taken)) == 4


async def test_of_two_limits_that_arrive_in_the_other_order_the_later_one_holds(validator: Validator) -> None:
    later, earlier = limited(1, hours=2), limited(5, hours=1)
    for event in (later, earlier, later):
        await deliver(validator.pool, handlers, event)

    assert await validator.pool.fetchval("SELECT at_once FROM project") == 1


async def test_a_deleted_project_leaves_no_row(validator: Validator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REMOVED_AT_ONCE", 2)
    for project_id in ("p", "q"):
        await given_requests(validator, 5, project_id)
        async with transaction(validator.pool) as tx:
            facts = {FactsKey(f"{number:064x}", 1, "json"): b"" for number in range(5)}
            await store.keep_facts(tx, project_id, facts)
    deleted = ProjectDeleted(project_id="p", at=NOON)
    await deliver(validator.pool, handlers, deleted)
    await deliver(validator.pool, handlers, deleted)
    await validator.pool.execute("UPDATE project SET deleted_at = now()")
    await remove_deleted(validator.pool)

    for table in store.OF_PROJECTS:
        rows = await validator.pool.fetch(f"SELECT project_id, count(*) FROM {table} GROUP BY project_id")
        assert [tuple(row) for row in rows] == [("q", 5)]

    await given_requests(validator, 1)  # an event that was late
    await validator.pool.execute("UPDATE project SET deleted_at = now() - interval '9 days'")
    await remove_deleted(validator.pool)
    assert await validator.pool.fetchval("SELECT count(*) FROM validation WHERE project_id = 'p'") == 0
    assert await validator.pool.fetchval("SELECT count(*) FROM project") == 0


async def test_rows_of_a_project_are_found_by_an_index(validator: Validator) -> None:
    async with transaction(validator.pool) as tx:
        await tx.execute("SET LOCAL enable_seqscan = off")
        with recorded(tx) as statements:
            for table in store.OF_PROJECTS:
                await store.remove_rows(tx, table, "p", 10)
            await store.claim(tx, "one", 1, 60)
        assert await sequential_scans(tx, statements) == set()
