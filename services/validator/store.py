"""All SQL of the validator.

A validation is a row until its verdict is written; the verdict is written once and never changed. A process works on a
validation under a lease, whose number (`fence`) guards every statement of that work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from libs import telemetry
from libs.contracts import ModelValidationRequested, Report, StoredFile, ValidationOptions
from libs.db import Tx, columns
from libs.leases import LeaseTable
from libs.retention import Retention
from services.validator import facts
from services.validator.facts import FactsKey

MAX_REASON = 1_000  # characters
WAITING = "validation"  # channel, signalled when there is a validation to claim

# A lease ends when the next claim is possible: both are one column.
LEASES = LeaseTable[str](
    table="validation", key="validation_id", key_type="text", until="not_before", clears_until=False
)

VERDICTS = Retention(table="verdict", key="validation_id", age="decided_at")
VALIDATIONS = Retention(  # such as those of models that were deleted
    table="validation", key="validation_id", age="created_at", condition="leased_by IS NULL"
)
PROJECTS = Retention(table="project", key="id", age="deleted_at")
OF_PROJECTS = ("validation", "inspected")  # verdicts have no project, and go by their age
FACTS = Retention(table="inspected", key="ctid", age="kept_at")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one validation."""

    report: Report
    decided_at: datetime  # UTC


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """Why a validation waits, and until when."""

    reason: str | None
    not_before: datetime  # UTC


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on one validation."""

    validation_id: str
    model_id: str
    project_id: str
    files: list[StoredFile]
    fence: int
    attempts: int  # begun since it was requested or resumed, counting this one
    parks: int  # how often it was parked
    request_id: str | None
    traceparent: str | None
    options: ValidationOptions | None = None

    @property
    def key(self) -> str:
        """The validation's id."""
        return self.validation_id


# Requests


async def queue(tx: Tx, event: ModelValidationRequested) -> bool:
    """Queue a validation to be claimed. Returns False if it is queued already, or has its verdict."""
    context = telemetry.current()
    added = await tx.fetchval(
        """
        INSERT INTO validation (validation_id, model_id, project_id, files, request_id, traceparent, options)
        SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE NOT EXISTS (SELECT FROM verdict WHERE validation_id = $1)
        ON CONFLICT (validation_id) DO NOTHING
        RETURNING validation_id
        """,
        event.validation_id,
        event.model_id,
        event.project_id,
        event.files,
        context.request_id,
        context.traceparent,
        event.options,
    )
    return added is not None


async def find(tx: Tx, validation_id: str) -> Verdict | None:
    """Return the verdict of this validation, if there is one."""
    row = await tx.fetchrow("SELECT report, decided_at FROM verdict WHERE validation_id = $1", validation_id)
    return row and msgspec.convert(dict(row), Verdict)


async def find_parked(tx: Tx, validation_id: str) -> Parked | None:
    """Return why this validation is parked, if it is."""
    row = await tx.fetchrow(
        f"SELECT {columns(Parked)} FROM validation WHERE validation_id = $1 AND state = 'parked'",
        validation_id,
    )
    return row and msgspec.convert(dict(row), Parked)


async def resume(tx: Tx, validation_id: str) -> None:
    """Let a postponed or parked validation be claimed now, with all its attempts again."""
    await tx.execute(
        """
        UPDATE validation SET state = 'queued', attempts = 0, parks = 0, not_before = now()
         WHERE validation_id = $1 AND leased_by IS NULL
        """,
        validation_id,
    )


# Leases

CLAIM = f"""
    WITH RECURSIVE limited AS (
        SELECT id, at_once FROM project WHERE at_once IS NOT NULL
    ), waiting (id) AS (
        (SELECT project_id FROM validation ORDER BY project_id LIMIT 1)
         UNION ALL
        SELECT (SELECT project_id FROM validation WHERE project_id > waiting.id ORDER BY project_id LIMIT 1)
          FROM waiting WHERE waiting.id IS NOT NULL
    ), busy AS (
        SELECT project_id AS id, count(*) AS running
          FROM validation WHERE leased_by IS NOT NULL AND not_before > now() GROUP BY project_id
    ), next AS (
        SELECT due.validation_id, due.not_before, coalesce(busy.running, 0) + due.nth AS turn
          FROM waiting LEFT JOIN busy USING (id) LEFT JOIN limited USING (id)
         CROSS JOIN LATERAL (
               SELECT validation_id, not_before, row_number() OVER (ORDER BY repeated, not_before) AS nth
                 FROM ((SELECT validation_id, not_before, false AS repeated FROM validation
                         WHERE project_id = waiting.id AND (attempts > 0) = false AND not_before <= now()
                           AND state IN ('queued', 'parked')
                         ORDER BY not_before LIMIT $2)
                        UNION ALL
                       (SELECT validation_id, not_before, true FROM validation
                         WHERE project_id = waiting.id AND (attempts > 0) = true AND not_before <= now()
                           AND state IN ('queued', 'parked')
                         ORDER BY not_before LIMIT $2)) AS first
               ) AS due
         WHERE limited.at_once IS NULL OR coalesce(busy.running, 0) + due.nth <= limited.at_once
    ), mine AS (
        SELECT v.validation_id
          FROM validation v JOIN next USING (validation_id)
         WHERE v.not_before <= now()
         ORDER BY next.turn, next.not_before
         LIMIT $2
           FOR UPDATE OF v SKIP LOCKED
    )
    UPDATE validation v
       SET {LEASES.claimed("$1", "$3")}, attempts = attempts + 1
      FROM mine WHERE v.validation_id = mine.validation_id
    RETURNING v.validation_id, model_id, project_id, files, fence, attempts, parks, request_id, traceparent, options
"""
NEXT_CLAIM = """
    SELECT extract(epoch FROM min(not_before) - now())::float8 FROM validation WHERE state IN ('queued', 'parked')
"""


async def claim(tx: Tx, owner: str, limit: int, lease_s: float) -> list[Claim]:
    """Lease up to `limit` validations: of the projects with the fewest under way, first tries first, then the oldest.

    Of a project that has a limit, no more than that are under way at a time. One index probe for each project that has
    any, and `limit` rows of each; the number of rows does not matter.
    """
    await _take_turn(tx)
    rows = await tx.fetch(CLAIM, owner, limit, lease_s)
    return [msgspec.convert(dict(row), Claim) for row in rows]


async def next_claim_s(tx: Tx) -> float | None:
    """In how many seconds there is something to claim; 0 for now, None for never."""
    seconds: float | None = await tx.fetchval(NEXT_CLAIM)
    return None if seconds is None else max(0.0, seconds)


async def release(tx: Tx, claim: Claim) -> None:
    """Give the lease back, to be claimed again at once; the attempt does not count."""
    await LEASES.release(tx, claim.key, claim.fence, "not_before = now(), attempts = attempts - 1")


async def postpone(tx: Tx, claim: Claim, reason: str, pause_s: float) -> None:
    """Give the lease back, to be claimed again in `pause_s` seconds."""
    await LEASES.release(
        tx,
        claim.key,
        claim.fence,
        "not_before = now() + make_interval(secs => $3), reason = left($4, $5)",
        pause_s,
        reason,
        MAX_REASON,
    )


async def park(tx: Tx, claim: Claim, reason: str, pause_s: float, attempts: int) -> Parked | None:
    """Give the lease back for a long pause, with `attempts` counted. Returns None if the lease was lost."""
    row = await tx.fetchrow(
        f"""
        UPDATE validation
           SET {LEASES.released}, state = 'parked', not_before = now() + make_interval(secs => $3),
               reason = left($4, $5), parks = parks + 1, attempts = $6
         WHERE {LEASES.held}
        RETURNING {columns(Parked)}
        """,
        claim.key,
        claim.fence,
        pause_s,
        reason,
        MAX_REASON,
        attempts,
    )
    return row and msgspec.convert(dict(row), Parked)


async def finish(tx: Tx, claim: Claim, verdict: Verdict) -> Verdict | None:
    """Write the verdict down and end the validation. Returns: the verdict that stands, since the first one stays; None
    if the lease was lost."""
    held = await tx.fetchval(
        f"""
        WITH ended AS (
            DELETE FROM validation WHERE {LEASES.held}
            RETURNING validation_id
        ), written AS (
            INSERT INTO verdict (validation_id, model_id, passed, report, decided_at)
            SELECT $1, $3, $4, $5, $6 FROM ended
            ON CONFLICT (validation_id) DO NOTHING
            RETURNING validation_id
        )
        SELECT CASE WHEN EXISTS (SELECT FROM written) THEN 'written' ELSE 'known' END FROM ended
        """,
        claim.validation_id,
        claim.fence,
        claim.model_id,
        verdict.report.passed,
        verdict.report,
        verdict.decided_at,
    )
    if held == "known":
        return await find(tx, claim.validation_id)
    return verdict if held else None


# Facts read of files


async def kept_facts(tx: Tx, project_id: str, keys: Sequence[FactsKey]) -> dict[FactsKey, bytes]:
    """The facts that are kept under these keys, encoded."""
    rows = await tx.fetch(
        """
        SELECT inspected.sha256, inspected.size_bytes, inspected.kind, piece
          FROM unnest($3::text[], $4::bigint[], $5::text[]) AS wanted (sha256, size_bytes, kind)
          JOIN inspected ON inspected.project_id = $1 AND inspected.reader = $2
           AND inspected.sha256 = wanted.sha256 AND inspected.size_bytes = wanted.size_bytes
           AND inspected.kind = wanted.kind
        """,
        project_id,
        facts.READER,
        *_by_column(keys),
    )
    return {FactsKey(row["sha256"], row["size_bytes"], row["kind"]): row["piece"] for row in rows}


async def keep_facts(tx: Tx, project_id: str, new: Mapping[FactsKey, bytes]) -> None:
    """Keep encoded facts; in order, so that two transactions that keep the same ones cannot deadlock."""
    await tx.execute(
        """
        INSERT INTO inspected (project_id, reader, sha256, size_bytes, kind, piece)
        SELECT $1, $2, sha256, size_bytes, kind, piece
          FROM unnest($3::text[], $4::bigint[], $5::text[], $6::bytea[]) AS new (sha256, size_bytes, kind, piece)
         ORDER BY sha256, size_bytes, kind
        ON CONFLICT DO NOTHING
        """,
        project_id,
        facts.READER,
        *_by_column(list(new)),
        list(new.values()),
    )


# Projects


async def limit_project(tx: Tx, project_id: str, at_once: int | None, at: datetime) -> None:
    """Record how many models of a project may be validated at a time; the limit that was set last stays."""
    await tx.execute(
        """
        INSERT INTO project (id, at_once, limited_at) VALUES ($1, $2, $3)
            ON CONFLICT (id) DO UPDATE SET at_once = excluded.at_once, limited_at = excluded.limited_at
         WHERE project.limited_at IS NULL OR project.limited_at <= excluded.limited_at
        """,
        project_id,
        at_once,
        at,
    )


async def _take_turn(tx: Tx) -> None:
    """Where any project has a limit, make claims take turns until their transactions end: each sees those before."""
    if await tx.fetchval("SELECT EXISTS (SELECT FROM project WHERE at_once IS NOT NULL)"):
        await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('validations', 0))")


async def delete_project(tx: Tx, project_id: str, at: datetime) -> None:
    """Record that a project was deleted."""
    await tx.execute(
        """
        INSERT INTO project (id, deleted_at) VALUES ($1, $2)
            ON CONFLICT (id) DO UPDATE SET deleted_at = coalesce(project.deleted_at, excluded.deleted_at)
        """,
        project_id,
        at,
    )


async def deleted_projects(tx: Tx) -> list[str]:
    """The projects that were deleted, the longest ago first."""
    rows = await tx.fetch("SELECT id FROM project WHERE deleted_at IS NOT NULL ORDER BY deleted_at")
    return [row["id"] for row in rows]


async def remove_rows(tx: Tx, table: str, project_id: str, limit: int) -> int:
    """Delete up to `limit` rows of a project from one of OF_PROJECTS. Returns how many."""
    tag: str = await tx.execute(
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE project_id = $1 LIMIT $2))",
        project_id,
        limit,
    )
    return int(tag.split()[-1])


def _by_column(keys: Sequence[FactsKey]) -> tuple[list[str], list[int], list[str]]:
    return [key.sha256 for key in keys], [key.size_bytes for key in keys], [key.kind for key in keys]
