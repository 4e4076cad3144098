"""What lifecycle's statements cost does not grow with what is stored: every plan is on an index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest

from libs.contracts import StoredFile
from libs.contracts.keys import member_key, objects_prefix
from libs.db import Pool, Tx
from services.lifecycle.groups import GROUP_SIZE
from services.lifecycle.store import (
    audits,
    holders,
    installation,
    moves,
    objects,
    projects,
    purges,
    retention,
    unclaimed,
)
from services.lifecycle.store.audits import Counts
from services.lifecycle.store.moves import Move
from services.lifecycle.store.purges import Purge
from services.lifecycle.store.unclaimed import Unclaimed
from tests.integration.lifecycle.harness import Lifecycle

PROJECT = "proj_7"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEYS = [f"{PROJECT}/objects/{number:036}/m0-1-{number}" for number in range(7, 7 + GROUP_SIZE * 100, 100)]
PREFIX = objects_prefix(PROJECT, f"{7:036}")
LARGE = {"object", "reference", "holder", "purge", "move", "unclaimed"}

Statement = Callable[[Tx], Awaitable[object]]


def statements() -> Iterator[tuple[str, Statement]]:
    """Every statement of the store on a table that grows, as its callers call it."""
    files = [
        StoredFile(path="a", size_bytes=1, sha256="0" * 64, key=member_key(PROJECT, "u", 0, 1, n)) for n in range(9)
    ]
    purge = Purge(
        id=7,
        fence=1,
        project_id=PROJECT,
        prefix=PREFIX,
        keys=None,
        reason="",
        pass_number=0,
        failures=0,
        scheduled_at=NOW,
    )
    yield "register", lambda tx: objects.register(tx, PROJECT, files, at=NOW)
    yield "add_references", lambda tx: objects.add_references(tx, KEYS, "model", "m")
    yield "remove_references", lambda tx: objects.remove_references(tx, KEYS)
    yield "drop", lambda tx: objects.drop(tx, PROJECT, KEYS, reason="", at=NOW)
    yield "mark_for_deletion", lambda tx: objects.mark_for_deletion(tx, PROJECT, KEYS, reason="")
    yield "mark_deleted", lambda tx: objects.mark_deleted(tx, KEYS)
    yield "dropped_under", lambda tx: objects.dropped_under(tx, PREFIX, after="", limit=GROUP_SIZE)
    yield "forget objects", lambda tx: retention.OBJECTS.forget_some(tx, 86_400, 1000)
    yield "unknown", lambda tx: objects.unknown(tx, KEYS, [PREFIX] * len(KEYS), dropped_for_s=86_400)
    for name, after, up_to in (("first", "", KEYS[0]), ("next", KEYS[0], KEYS[-1]), ("last", KEYS[-1], None)):
        yield (
            f"absent, {name} range",
            partial(objects.absent, keys=KEYS, after=after, up_to=up_to, registered_before=NOW, limit=GROUP_SIZE),
        )
    yield "mark_missing", lambda tx: objects.mark_missing(tx, KEYS)
    yield "missing", lambda tx: objects.missing(tx, after="", limit=GROUP_SIZE)
    yield "report_missing", lambda tx: objects.report_missing(tx, KEYS, missing_for_s=300)
    yield "unmark_missing", lambda tx: objects.unmark_missing(tx, KEYS)
    yield "count_missing", lambda tx: objects.count_missing(tx, limit=100_000)
    yield "schedule_prefixes", lambda tx: purges.schedule_prefixes(tx, PROJECT, [PREFIX], reason="", at=NOW)
    yield "schedule_keys", lambda tx: purges.schedule_keys(tx, PROJECT, KEYS, reason="", at=NOW)
    yield "claim a purge", lambda tx: purges.claim(tx, "worker", 60, after_project=PROJECT)
    yield "renew a purge", lambda tx: purges.LEASES.renew(tx, "worker", [(7, 1)], 60)
    yield "put_back a purge", lambda tx: purges.put_back(tx, purge, delay_s=1, failed=True)
    yield "end_pass", lambda tx: purges.end_pass(tx, purge, next_in_s=1)
    yield "finish a purge", lambda tx: purges.finish(tx, purge)
    yield "forget purges", lambda tx: retention.PURGES.forget_some(tx, 86_400, 1000)
    yield "pending", lambda tx: purges.pending(tx, limit=10_000)
    moving = [
        Move(
            key=key,
            fence=1,
            project_id=PROJECT,
            tier="cold",
            failures=0,
            state="live",
            stored_in="hot",
            size_bytes=1,
            sha256="",
        )
        for key in KEYS[: moves.OBJECTS_AT_ONCE]
    ]
    yield "record_reads", lambda tx: objects.record_reads(tx, KEYS, again_after_s=0)
    yield "add a holder", lambda tx: holders.add(tx, "m7", "model")
    yield "end a holder", lambda tx: holders.end(tx, "m7", "model", until=None, at=NOW)
    yield "erase a holder", lambda tx: holders.erase(tx, "m7", "model", at=NOW)
    yield "remove_references of a holder", lambda tx: holders.remove_references(tx, "m7", "model")
    yield "expiring", lambda tx: holders.expiring(tx, KEYS)
    yield "expires_at", lambda tx: holders.expires_at(tx, KEYS[0])
    yield "forget holders", lambda tx: retention.HOLDERS.forget_some(tx, 86_400, 1000)
    for name, after in (("first", ""), ("next", PROJECT)):
        yield (
            f"schedule_unread, {name} round",
            partial(moves.schedule_unread, unread_for_s=60, rest_s=60, after_project=after),
        )
    yield "schedule_cold", lambda tx: moves.schedule_cold(tx, rest_s=60, after=KEYS[0])
    yield "schedule moves", lambda tx: moves.schedule(tx, KEYS, "hot", reason="read", rest_s=60)
    yield "claim moves", lambda tx: moves.claim(tx, "worker", 60)
    yield "renew moves", lambda tx: moves.LEASES.renew(tx, "worker", [(key, 1) for key in KEYS], 60)
    yield "commit moves", lambda tx: moves.commit(tx, moving)
    yield "confirmed moves", lambda tx: moves.confirmed(tx, moving)
    yield "lock moves", lambda tx: moves.lock(tx, moving)
    yield "finish moves", lambda tx: moves.finish(tx, moving)
    yield "put_back moves", lambda tx: moves.put_back(tx, moving, delay_s=1, failed=True)
    yield "placed", lambda tx: moves.placed(tx, KEYS)
    yield "any_cold", moves.any_cold
    yield "pending moves", lambda tx: moves.pending(tx, limit=10_000)
    found = [Unclaimed(key=key, project_id=PROJECT) for key in KEYS]
    yield "record unclaimed", lambda tx: unclaimed.record(tx, found, audit=1)
    yield "recorded", lambda tx: unclaimed.recorded(tx, audit=1, after="", limit=GROUP_SIZE)
    yield "ask", lambda tx: unclaimed.ask(tx, KEYS, now=False, pause_s=3600)
    yield "forget unclaimed", lambda tx: unclaimed.forget(tx, before=1, limit=1000)
    yield "projects", lambda tx: projects.known(tx, [PROJECT])
    yield "installation", installation.load
    yield "advance", lambda tx: audits.advance(tx, 1, "", 60, Counts())


class Explained(Exception):
    """Ends a statement's function: there is a plan, and no result."""


class Explaining:
    """Has every statement explained, with what it reads; what it writes is rolled back."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.plans: list[dict[str, Any]] = []

    async def _explain(self, sql: str, *args: object) -> None:
        [row] = await self._tx.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)
        self.plans.append(msgspec.json.decode(row[0])[0]["Plan"])
        raise Explained

    fetch = fetchrow = fetchval = execute = _explain


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def fill(pool: Pool) -> None:
    """200,000 objects, references, holders, purges, moves and unclaimed objects of 100 projects; most are deleted."""
    await pool.execute(
        """
        INSERT INTO object (key, project_id, size_bytes, sha256, state, reason,
                            registered_at, changed_at, missing_since, tier, last_read_at)
        SELECT format('proj_%s/objects/%s/m0-1-%s', n % 100, lpad(n::text, 36, '0'), n), format('proj_%s', n % 100),
               1, 'x', state, 'r', '2025-01-01', now() - interval '1 h', CASE WHEN n % 200 = 0 THEN now() END,
               CASE WHEN n % 8 = 0 THEN 'cold' ELSE 'hot' END, now() - n % 1000 * interval '1 min'
          FROM generate_series(0, 199999) AS n
         CROSS JOIN LATERAL (SELECT CASE WHEN n % 4 = 0 THEN 'live' WHEN n % 997 = 1 THEN 'dropped'
                                         ELSE 'deleted' END AS state) AS its
        """
    )
    await pool.execute(
        """
        INSERT INTO reference
        SELECT key, 'model', format('m%s', row_number() OVER (ORDER BY key) / 100) FROM object
        """
    )
    await pool.execute(
        """
        INSERT INTO holder
        SELECT format('m%s', n), 'model', CASE WHEN n % 3 = 0 THEN now() END, n % 5 = 0, now() - n * interval '1 min'
          FROM generate_series(0, 199999) AS n
        """
    )
    await pool.execute(
        """
        INSERT INTO move (key, project_id, tier, reason, size_bytes, due_at)
        SELECT key, project_id, CASE WHEN key < 'proj_5' THEN 'cold' ELSE 'hot' END, 'r', 1,
               now() + row_number() OVER (ORDER BY key DESC) * interval '1 s' - interval '50 s'
          FROM object WHERE state <> 'live'
        """
    )
    await pool.execute(
        """
        INSERT INTO purge (project_id, prefix, target, reason, due_at)
        SELECT format('proj_%s', n % 100), format('proj_%s/uploads/%s/', n % 100, n), n::text, 'r',
               now() + n * interval '1 s' - interval '50 s'
          FROM generate_series(0, 199999) AS n
        """
    )
    await pool.execute("INSERT INTO unclaimed (key, project_id, pass) SELECT key, project_id, 1 FROM object")
    await pool.execute("ANALYZE object, reference, holder, purge, move, unclaimed")


async def test_every_statement_is_on_an_index(lifecycle: Lifecycle) -> None:
    """No sequential scan of a table that grows, in any statement of the store, and no more rows read than asked for.

    At 200,000 rows in each, as Postgres counts them: what is limited to 400 rows, or given 400 keys, reads a few times
    as many (an index entry, the row, the key to compare), what is limited to more so many.
    """
    await fill(lifecycle.pool)
    scanned: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    async with lifecycle.pool.acquire() as tx:
        for name, statement in statements():
            explaining: Any = Explaining(tx)
            begun = tx.transaction()
            await begun.start()
            with pytest.raises(Explained):
                await statement(explaining)
            await begun.rollback()
            scans = [node for node in nodes(explaining.plans[0]) if node.get("Relation Name") in LARGE]
            if whole := [node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"]:
                scanned[name] = whole
            rows[name] = int(
                sum(
                    (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                    for node in scans
                )
            )
    assert len(rows) == 55
    assert scanned == {}
    unread = 3 * moves.PROJECTS_AT_ONCE * moves.OBJECTS_AT_ONCE
    limits = {"schedule_unread, first round": unread, "schedule_unread, next round": unread, "schedule_cold": unread}
    limits |= {
        "pending": 10_000,
        "pending moves": 10_000,
        "forget holders": 3000,
        "forget objects": 3000,
        "forget purges": 3000,
        "forget unclaimed": 3000,
    }
    assert {name: read for name, read in rows.items() if read > limits.get(name, 4 * GROUP_SIZE)} == {}
