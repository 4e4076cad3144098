"""The table of an extraction's states, against the schema and against every statement that changes a state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from libs.contracts import ArchiveExtracted, ArchiveRejected, Finding, PartStream
from libs.db import Pool, Tx, transaction
from services.extractor import states
from services.extractor.states import STATES, TRANSITIONS, UNDER_WAY, State
from services.extractor.store import leases, retention, streams
from services.extractor.store.leases import Claim
from tests.integration.extractor.harness import NOON
from tests.support.fixtures import PoolFor
from tests.support.statements import spelled, statements_with
from tests.support.states import checked_states, states_in_conditions

STREAM = PartStream(
    id="stream", upload_id="upload", project_id="p", model_id="m", number=0, format="tar", size_bytes=1, total_parts=1
)
EXTRACTED = ArchiveExtracted(upload_id=STREAM.upload_id, stream_id=STREAM.id, files=[], at=NOON)
REJECTED = ArchiveRejected(
    upload_id=STREAM.upload_id,
    stream_id=STREAM.id,
    finding=Finding(rule="r", severity="error", message="m", fix="f"),
    at=NOON,
)


LEASE = Claim(stream=STREAM, fence=1, attempts=1, taken_over=False, checkpoint=None, request_id=None, traceparent=None)


STATEMENTS: dict[str, Callable[[Tx], Awaitable[object]]] = {
    "claim": lambda tx: leases.claim(tx, "me", 1, 60, of_one_project=1),
    "park": lambda tx: leases.park(tx, LEASE, 60),
    "resume": lambda tx: streams.resume(tx, STREAM.upload_id, [STREAM.id]),
    "extract": lambda tx: leases.finish(tx, LEASE, EXTRACTED),
    "reject": lambda tx: leases.finish(tx, LEASE, REJECTED),
    "stop": lambda tx: streams.end_upload(tx, STREAM.upload_id),
    "forget": lambda tx: retention.EXTRACTIONS.forget_some(tx, 0),
}
UNDER_LEASE = {"park", "extract", "reject"}  # possible only while the row is leased, which only `open` allows


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    return await pool_for("extractor")


async def given_extraction(tx: Tx, state: State, *, leased: bool) -> None:
    """The one stream in this state, with its part stored."""
    await tx.execute("DELETE FROM ended_upload")
    await tx.execute("DELETE FROM extraction")
    result = {states.EXTRACTED: EXTRACTED, states.REJECTED: REJECTED}.get(state)
    await tx.execute(
        """
        INSERT INTO extraction (stream_id, upload_id, stream, total_parts, ready_parts, state, result, ended_at,
                                fence, leased_by, lease_until)
        VALUES ('stream', 'upload', $1, 1, 1, $2, $3, CASE WHEN $4 THEN now() - interval '1 second' END,
                1, CASE WHEN $5 THEN 'me' END, CASE WHEN $5 THEN now() + interval '1 hour' END)
        """,
        STREAM,
        state,
        result,
        state not in UNDER_WAY,
        leased,
    )


async def state_of(tx: Tx) -> str | None:
    state: str | None = await tx.fetchval("SELECT state FROM extraction")
    return state


@pytest.mark.parametrize("transition", [each for each in TRANSITIONS if each.sources], ids=lambda each: each.name)
async def test_a_statement_changes_the_states_of_the_table_and_no_other(
    pool: Pool, transition: states.ExtractionTransition
) -> None:
    after: dict[str, str | None] = {}
    for state in STATES:
        async with transaction(pool) as tx:
            await given_extraction(tx, state, leased=transition.name in UNDER_LEASE and state == states.OPEN)
            await STATEMENTS[transition.name](tx)
            after[state] = await state_of(tx)
    assert after == {state: transition.target if state in transition.sources else state for state in STATES}


async def test_an_extraction_begins_as_the_table_says(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await streams.open_extraction(tx, STREAM)
        assert await state_of(tx) == states.BEGIN.target


def test_every_transition_has_its_statement_here() -> None:
    assert {*STATEMENTS, "begin"} == {each.name for each in TRANSITIONS}


@pytest.mark.parametrize("state", [state for state in STATES if state != states.OPEN])
async def test_only_an_open_extraction_can_be_leased(pool: Pool, state: State) -> None:
    with pytest.raises(Exception, match="violates check constraint"):
        async with transaction(pool) as tx:
            await given_extraction(tx, state, leased=True)


async def test_the_schema_knows_the_states_of_the_table(pool: Pool) -> None:
    async with transaction(pool) as tx:
        assert await checked_states(tx, "extraction") == [*STATES]
        assert await states_in_conditions(tx, "extraction") <= {*STATES}
        for state in STATES:
            await given_extraction(tx, state, leased=False)
            claimable, ended = await tx.fetchrow("SELECT claimable, ended_at IS NOT NULL FROM extraction")
            assert (claimable, ended) == (state in states.CLAIM.sources, state in states.FORGET.sources)


def test_results_are_kept_in_the_states_that_have_one() -> None:
    assert {*streams.RESULTS} == {states.EXTRACT.target, states.REJECT.target}


def test_no_statement_spells_a_state_out() -> None:
    """Statements have the names of states filled in from the table."""
    assert statements_with(spelled(STATES), "services/extractor", besides=["states.py"]) == []
