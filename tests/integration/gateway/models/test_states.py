"""The statements and the constraints of Postgres keep to the table of a model's states."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.db import Pool, Tx, transaction
from libs.states import Transition
from services.gateway.models import states
from services.gateway.models.states import CREATE, FIND_FILES, RESTORE, STATES, ModelStatus
from services.gateway.models.store import deletion, missing, models, validations
from tests.integration.gateway.models.verdicts import report
from tests.support.fixtures import PoolFor

PROJECT, MODEL, VALIDATION = "proj_TESTTEST01", "model-1", "validation-1"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
NEXT_YEAR = NOW + timedelta(days=365)

Statement = Callable[[Tx], Awaitable[Any]]


async def expire(tx: Tx) -> None:
    """EXPIRE, of a model that has its verdict."""
    await tx.execute("UPDATE model SET validated_at = $1", NOW)
    await deletion.expire(tx, [MODEL], NEXT_YEAR)


STATEMENTS: dict[str, Statement] = {
    "process": lambda tx: models.process(tx, MODEL),
    "reopen": lambda tx: models.reopen(tx, MODEL),
    "discard": lambda tx: models.discard(tx, MODEL),
    "fail": lambda tx: models.fail(tx, MODEL, "it failed"),
    "register": lambda tx: validations.register(
        tx, MODEL, validation_id=VALIDATION, size_bytes=1, file_count=1, at=NOW
    ),
    "accept": lambda tx: validations.settle(tx, MODEL, VALIDATION, report(), reason=None, at=NOW),
    "reject": lambda tx: validations.settle(tx, MODEL, VALIDATION, report(), reason="it is wrong", at=NOW),
    "give_up": lambda tx: validations.give_up(tx, [MODEL], NEXT_YEAR, 0, "given up: %s", "silence"),
    "resume": lambda tx: validations.resume(tx, MODEL, NOW),
    "revalidate": lambda tx: validations.revalidate(tx, MODEL, validation_id=VALIDATION, at=NOW),
    "lose_files": lambda tx: missing.lose_files(tx, MODEL, "files are lost"),
    "delete": lambda tx: deletion.delete(tx, MODEL, by="key", at=NOW, erase_at=NEXT_YEAR),
    "erase": lambda tx: deletion.erase(tx, [MODEL], NEXT_YEAR),
    "expire": expire,
    "replace_files": lambda tx: missing.replace_files(tx, MODEL, validation_id=VALIDATION, at=NOW),
}


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("gateway")
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'test', 'test')", PROJECT)
    return pool


async def given_model(
    tx: Tx, state: ModelStatus, before_missing: ModelStatus | None = None, before_deleting: ModelStatus | None = None
) -> None:
    """The one model, in this state."""
    await tx.execute("DELETE FROM model")
    await tx.execute(
        """
        INSERT INTO model (id, project_id, name, version, status, status_reason, validation_id, deadline_at,
                           status_before_missing, reason_before_missing, status_before_deleting, erase_at)
        VALUES ($1, $2, 'tiny', '1.0.0', $3, 'a reason', $4, $5, $6, 'a reason', $7, $5::timestamptz + '1 hour')
        """,
        MODEL,
        PROJECT,
        state,
        VALIDATION,
        NOW,
        before_missing,
        before_deleting,
    )


async def state_of(tx: Tx) -> str | None:
    return await models.status_of(tx, MODEL)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
async def test_a_statement_changes_the_states_that_the_table_says_and_no_other(pool: Pool, name: str) -> None:
    [transition] = [each for each in states.TRANSITIONS if each.name == name]
    after = {}
    for state in STATES:
        async with transaction(pool) as tx:
            await given_model(tx, state)
            await STATEMENTS[name](tx)
            after[state] = await state_of(tx)
    assert after == {state: transition.target if state in transition.sources else state for state in STATES}


@pytest.mark.parametrize("transition", FIND_FILES, ids=lambda each: str(each.target))
async def test_a_model_whose_files_are_found_is_what_it_was(pool: Pool, transition: Transition[ModelStatus]) -> None:
    after = {}
    for state in STATES:
        async with transaction(pool) as tx:
            await given_model(tx, state, before_missing=transition.target)
            await missing.find_files(tx, MODEL, NOW)
            after[state] = await state_of(tx)
    assert after == {state: transition.target if state in transition.sources else state for state in STATES}


@pytest.mark.parametrize("transition", RESTORE, ids=lambda each: str(each.target))
async def test_a_restored_model_is_what_it_was(pool: Pool, transition: Transition[ModelStatus]) -> None:
    after = {}
    for state in STATES:
        async with transaction(pool) as tx:
            await given_model(tx, state, before_deleting=transition.target)
            await deletion.restore(tx, MODEL, NOW)
            after[state] = await state_of(tx)
    assert after == {state: transition.target if state in transition.sources else state for state in STATES}


async def test_a_deleted_model_that_was_active_is_ready_when_it_is_restored(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await given_model(tx, "active")
        await deletion.delete(tx, MODEL, by="key", at=NOW, erase_at=NEXT_YEAR)
        await deletion.restore(tx, MODEL, NOW)
        assert await state_of(tx) == "ready"


def test_every_transition_of_an_existing_model_has_its_statement_here() -> None:
    assert {*STATEMENTS, "create", "find_files", "restore"} == {each.name for each in states.TRANSITIONS}


async def test_the_check_constraint_knows_the_states_of_the_table(pool: Pool) -> None:
    async with transaction(pool) as tx:
        definitions = await tx.fetch(
            """
            SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint
             WHERE conrelid = 'model'::regclass AND contype = 'c'
            """
        )
        default = await tx.fetchval(
            """
            SELECT pg_get_expr(adbin, adrelid)
              FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
             WHERE adrelid = 'model'::regclass AND attname = 'status'
            """
        )
    [allowed] = [row["definition"] for row in definitions if "ANY" in row["definition"]]
    assert re.findall(r"'(\w+)'", allowed) == [*STATES]
    assert default == f"'{CREATE.target}'::text"


async def test_constraints_and_partial_indexes_name_no_other_state(pool: Pool) -> None:
    async with transaction(pool) as tx:
        rows = await tx.fetch(
            """
            SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint
             WHERE conrelid = 'model'::regclass AND contype = 'c'
            UNION ALL
            SELECT pg_get_expr(indpred, indrelid) FROM pg_index
             WHERE indrelid = 'model'::regclass AND indpred IS NOT NULL
            """
        )
    named = {state for row in rows if "status" in row["text"] for state in re.findall(r"'(\w+)'::text", row["text"])}
    assert named <= {*STATES}
    assert states.VALIDATING in named
