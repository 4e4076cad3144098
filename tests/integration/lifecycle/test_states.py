"""The table of an object's states, against the schema and against every statement that changes a state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from libs.contracts import StoredFile
from libs.db import Pool, Tx, transaction
from services.lifecycle import states
from services.lifecycle.states import STATES, TRANSITIONS, State
from services.lifecycle.store import objects, retention
from tests.integration.lifecycle.uploads import NOON, PROJECT, state_of
from tests.support.fixtures import PoolFor
from tests.support.statements import spelled, statements_with
from tests.support.states import checked_states, states_in_conditions

KEY = f"{PROJECT}/objects/upload/f0-a"
FILE = StoredFile(path="a", size_bytes=1, sha256="0" * 64, key=KEY)

STATEMENTS: dict[str, Callable[[Tx], Awaitable[object]]] = {
    "register": lambda tx: objects.register(tx, PROJECT, [FILE], at=NOON),
    "drop_unregistered": lambda tx: objects.mark_for_deletion(tx, PROJECT, [KEY], reason="r"),
    "drop": lambda tx: objects.drop(tx, PROJECT, [KEY], reason="r", at=NOON),
    "delete": lambda tx: objects.mark_deleted(tx, [KEY]),
    "forget": lambda tx: retention.OBJECTS.forget_some(tx, 0),
}


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("lifecycle")


async def given_object(tx: Tx, state: State | None) -> None:
    """The one object in this state; None: there is none."""
    await tx.execute("DELETE FROM object")
    if state is not None:
        await tx.execute(
            """
            INSERT INTO object (key, project_id, size_bytes, sha256, state, reason, registered_at, changed_at)
            VALUES ($1, $2, 1, 'x', $3, 'r', now(), now() - interval '1 second')
            """,
            KEY,
            PROJECT,
            state,
        )


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda each: each.name)
async def test_a_statement_changes_the_states_of_the_table_and_no_other(
    pool: Pool, transition: states.ObjectTransition
) -> None:
    after: dict[str | None, str | None] = {}
    for state in (None, *STATES) if not transition.sources else STATES:
        async with transaction(pool) as tx:
            await given_object(tx, state)
            await STATEMENTS[transition.name](tx)
            after[state] = await tx.fetchval("SELECT state FROM object")
    changed: tuple[State | None, ...] = transition.sources or (None,)
    assert after == {state: transition.target if state in changed else state for state in after}


async def test_a_drop_that_comes_first_is_recorded(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await STATEMENTS["drop"](tx)
    assert await state_of(pool, KEY) == states.DROP_UNREGISTERED.target


def test_every_transition_has_its_statement_here() -> None:
    assert {*STATEMENTS} == {each.name for each in TRANSITIONS}


async def test_the_schema_knows_the_states_of_the_table(pool: Pool) -> None:
    async with transaction(pool) as tx:
        assert await checked_states(tx, "object") == [*STATES]
        assert await states_in_conditions(tx, "object") == {*STATES}


def test_no_statement_spells_a_state_out() -> None:
    """Statements have the names of states filled in from the table."""
    assert statements_with(spelled(STATES), "services/lifecycle", besides=["states.py"]) == []
