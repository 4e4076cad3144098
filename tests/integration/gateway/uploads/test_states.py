"""The statements and the constraints of Postgres keep to the table of an upload's states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from libs.db import Pool, Tx, transaction
from services.gateway.uploads import states
from services.gateway.uploads.states import BEGIN, STATES, TRANSITIONS, UploadStatus, UploadTransition
from services.gateway.uploads.store import pruning, uploads
from tests.support.fixtures import PoolFor
from tests.support.states import checked_states, states_in_conditions

PROJECT, UPLOAD = "proj_TESTTEST01", "upload-1"
ERROR = {"message": "it failed", "code": "processing_failed", "finding": None}
EXPIRES_AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
LATER = EXPIRES_AT + timedelta(days=1)


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("gateway")
    async with transaction(pool) as tx:
        await tx.execute("INSERT INTO project (id, name, slug) VALUES ($1, 'test', 'test')", PROJECT)
    return pool


async def given_upload(tx: Tx, state: UploadStatus | None = None) -> None:
    """The one upload, in this state; as it is inserted, without."""
    await tx.execute("DELETE FROM upload")
    await uploads.insert(
        tx,
        upload_id=UPLOAD,
        project_id=PROJECT,
        model_id="model-1",
        model_name="tiny",
        model_version="1.0.0",
        kind="archive",
        chunk_size_bytes=1000,
        expires_at=EXPIRES_AT,
    )
    if state is not None:
        await tx.execute("UPDATE upload SET status = $1, error = '{}'", state)


@pytest.mark.parametrize("transition", [each for each in TRANSITIONS if each.sources], ids=lambda each: each.name)
async def test_a_transition_changes_the_states_of_the_table_and_no_other(
    pool: Pool, transition: UploadTransition
) -> None:
    after, moved = {}, {}
    for state in STATES:
        async with transaction(pool) as tx:
            await given_upload(tx, state)
            moved[state] = await uploads.move(tx, UPLOAD, transition, error=ERROR)
            after[state] = (await uploads.get(tx, PROJECT, UPLOAD)).status
    assert moved == {state: state in transition.sources for state in STATES}
    assert after == {state: transition.target if state in transition.sources else state for state in STATES}


async def test_an_upload_begins_as_the_table_says(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await given_upload(tx)
        assert (await uploads.get(tx, PROJECT, UPLOAD)).status == BEGIN.target


async def test_the_schema_knows_the_states_of_the_table(pool: Pool) -> None:
    async with transaction(pool) as tx:
        assert await checked_states(tx, "upload", "status") == [*STATES]
        assert await states_in_conditions(tx, "upload", "status") == {*STATES}


@pytest.mark.parametrize("state", STATES)
async def test_sweeps_look_for_the_states_that_they_may_change(pool: Pool, state: UploadStatus) -> None:
    async with transaction(pool) as tx:
        await given_upload(tx, state)
        assert bool(await uploads.expired(tx, LATER)) == (state in states.EXPIRE.sources)
        assert bool(await uploads.stuck(tx, LATER)) == (state == states.PROCESSING)
        assert bool(await pruning.ended_before(tx, LATER)) == (state in states.ENDED)
        assert bool(await uploads.live_among(tx, [UPLOAD])) == (state in states.LIVE)
