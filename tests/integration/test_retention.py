"""Old rows go, in small transactions, with the rows that belong to them."""

from __future__ import annotations

import pytest

from libs import retention
from libs.db import Pool, transaction
from libs.retention import Retention, forget
from tests.support.fixtures import PoolFor

HOUR_S = 3600.0
NOTES = Retention(table="note", key="id", age="ended_at", condition="NOT kept", dependents=("line.note_id",))
EVENTS = Retention(table="event", key="ctid", age="at")


@pytest.fixture
async def pool(pool_for: PoolFor) -> Pool:
    pool = await pool_for("service")
    await pool.execute(
        """
        CREATE TABLE note (id bigint PRIMARY KEY, ended_at timestamptz, kept boolean NOT NULL DEFAULT false);
        CREATE TABLE line (note_id bigint NOT NULL, number integer NOT NULL);
        CREATE TABLE event (at timestamptz NOT NULL);
        INSERT INTO note (id, ended_at) SELECT n, now() - make_interval(hours => n) FROM generate_series(0, 9) AS n;
        INSERT INTO note (id, kept, ended_at) VALUES (10, true, now() - interval '1 year'), (11, false, NULL);
        INSERT INTO line SELECT id, n FROM note, generate_series(0, 2) AS n;
        INSERT INTO event SELECT now() - make_interval(hours => n) FROM generate_series(0, 9) AS n;
        """
    )
    return pool


async def test_old_rows_go_with_their_dependents_and_no_other(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    assert await forget(pool, NOTES, 4.5 * HOUR_S) == 5
    assert [row["id"] for row in await pool.fetch("SELECT id FROM note ORDER BY id")] == [0, 1, 2, 3, 4, 10, 11]
    assert await pool.fetchval("SELECT count(*) FROM line") == 7 * 3
    assert await forget(pool, NOTES, 4.5 * HOUR_S) == 0


async def test_the_oldest_go_first(pool: Pool) -> None:
    async with transaction(pool) as tx:
        assert await NOTES.forget_some(tx, HOUR_S / 2, 3) == 3
    assert await pool.fetchval("SELECT array_agg(id ORDER BY id) FROM note WHERE id < 10") == list(range(7))


async def test_rows_that_are_locked_are_left_for_the_next_time(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await tx.execute("SELECT FROM note WHERE id = 9 FOR UPDATE")
        assert await forget(pool, NOTES, 7.5 * HOUR_S) == 1
    assert await forget(pool, NOTES, 7.5 * HOUR_S) == 1


async def test_a_table_without_a_key_of_one_column(pool: Pool) -> None:
    assert await forget(pool, EVENTS, 4.5 * HOUR_S) == 5
