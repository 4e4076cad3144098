"""Claiming extractions, and how an attempt ends. The lease's fence guards every change that its holder makes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.archives.tar import TarCheckpoint
from libs.contracts import ArchiveExtracted, ArchiveRejected, PartStream
from libs.db import Tx
from libs.leases import LeaseTable
from services.extractor import states

Result = ArchiveExtracted | ArchiveRejected

LEASES = LeaseTable[str](table="extraction", key="stream_id", key_type="text")
WITHOUT_CREDENTIALS = "stream = stream #- '{remote,credentials}'"  # an assignment: nobody needs them any more
CLAIMABLE = "extraction_claimable"  # channel, signalled with a stream's id: it has parts to read and is not leased

_LOOK_FURTHER = 8  # times as many rows as wanted, since other processes may be claiming the first ones just now


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on one extraction."""

    stream: PartStream
    fence: int
    attempts: int  # in a row without storing a file, including this one
    taken_over: bool  # the process that held it before died or was paused
    checkpoint: TarCheckpoint | None
    request_id: str | None
    traceparent: str | None

    @property
    def key(self) -> str:
        """The stream's id."""
        return self.stream.id


async def claim(
    tx: Tx,
    owner: str,
    limit: int,
    lease_s: float,
    *,
    of_one_project: int,
    running: Sequence[str] = (),
    take_over: bool = True,
    remote: bool = False,
) -> list[Claim]:
    """Lease up to `limit` extractions that have parts to read and are not leased, fairly between projects.

    The project with the fewest leases comes first, then the extraction that has waited longest; `owner` gets at most
    `of_one_project` of the same project. Expired leases are taken over if `take_over` is set, except those of streams
    that are `running` in this process, which can still be renewed.

    remote: whether to lease files in other stores, or what is sent here; each is claimed as if there were no other.
    """
    further = limit * _LOOK_FURTHER
    rows = await tx.fetch(
        _FETCH if remote else _CLAIM, owner, limit, lease_s, of_one_project, take_over, further, running
    )
    return [msgspec.convert(dict(row), Claim) for row in rows]


# Only the projects that have something in the queue are visited, each by one step on the index.
_CLAIM = f"""
    WITH RECURSIVE project AS (
        (SELECT project_id FROM extraction WHERE claimable ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.project_id FROM extraction e
                 WHERE e.claimable AND e.project_id > p.project_id ORDER BY e.project_id LIMIT 1)
          FROM project p WHERE p.project_id IS NOT NULL
    ), running AS (
        SELECT project_id, count(*) AS leases, count(*) FILTER (WHERE leased_by = $1) AS mine
          FROM extraction WHERE leased_by IS NOT NULL AND lease_until > now()
         GROUP BY project_id
    ), candidate AS (
        SELECT queued.stream_id, p.project_id, queued.not_before
          FROM project p
         CROSS JOIN LATERAL (
               SELECT stream_id, not_before FROM extraction
                WHERE claimable AND project_id = p.project_id AND not_before <= now()
                ORDER BY not_before LIMIT $6) AS queued
        UNION ALL
        SELECT stream_id, project_id, not_before FROM extraction
         WHERE leased_by IS NOT NULL AND lease_until <= now() AND $5 AND stream_id <> ALL($7) AND NOT remote
    ), ranked AS (
        SELECT stream_id, project_id, not_before, coalesce(mine, 0) AS mine,
               coalesce(leases, 0) + row_number() OVER (PARTITION BY project_id ORDER BY not_before) AS turn
          FROM candidate LEFT JOIN running USING (project_id)
    ), free AS MATERIALIZED (
        SELECT locked.stream_id, locked.taken_over, wanted.project_id, wanted.mine, wanted.turn
          FROM (SELECT stream_id, project_id, mine, turn FROM ranked ORDER BY turn, not_before LIMIT $6) AS wanted
         CROSS JOIN LATERAL (
               SELECT e.stream_id, e.leased_by IS NOT NULL AS taken_over FROM extraction e
                WHERE e.stream_id = wanted.stream_id
                  AND (e.claimable OR (e.leased_by IS NOT NULL AND e.lease_until <= now()))
                  FOR UPDATE SKIP LOCKED) AS locked
         LIMIT $2
    ), placed AS MATERIALIZED (
        SELECT stream_id, taken_over, mine + row_number() OVER (PARTITION BY project_id ORDER BY turn) AS place
          FROM free
    ), chosen AS MATERIALIZED (
        SELECT stream_id, taken_over FROM placed WHERE place <= $4
    )
    UPDATE extraction e
       SET state = '{states.CLAIM.target}', {LEASES.claimed("$1", "$3")}, attempts = attempts + 1
      FROM chosen
     WHERE e.stream_id = ANY(ARRAY(SELECT stream_id FROM chosen)) AND e.stream_id = chosen.stream_id
    RETURNING stream, fence, attempts, taken_over, checkpoint, request_id, traceparent
"""


_FETCH = _CLAIM.replace("claimable", "fetchable").replace("NOT remote", "remote")


async def next_claim_s(tx: Tx, owner: str, *, remote: bool = True) -> float | None:
    """Seconds until an extraction can be claimed, because a pause or another's lease ends. None if there is none.

    remote: whether files in other stores count.
    """
    seconds: float | None = await tx.fetchval(
        """
        SELECT extract(epoch FROM least(
                   (SELECT min(not_before) FROM extraction WHERE claimable),
                   (SELECT min(not_before) FROM extraction WHERE fetchable AND $2),
                   (SELECT min(lease_until) FROM extraction WHERE leased_by IS NOT NULL AND leased_by <> $1)
               ) - now())::float8
        """,
        owner,
        remote,
    )
    return None if seconds is None else max(0.0, seconds)


async def release(tx: Tx, claim: Claim) -> None:
    """Give the lease back, to be claimed again at once; the attempt does not count."""
    await LEASES.release(tx, claim.key, claim.fence, "not_before = now(), attempts = greatest(attempts - 1, 0)")


async def postpone(tx: Tx, claim: Claim, pause_s: float) -> None:
    """Give the lease back, to be claimed again in `pause_s` seconds."""
    await LEASES.release(tx, claim.key, claim.fence, "not_before = now() + make_interval(secs => $3)", pause_s)


async def park(tx: Tx, claim: Claim, pause_s: float) -> bool:
    """open -> parked, to be claimed again in `pause_s` seconds. Returns False if the lease was lost."""
    return await LEASES.release(
        tx,
        claim.key,
        claim.fence,
        f"state = '{states.PARK.target}', not_before = now() + make_interval(secs => $3)",
        pause_s,
    )


async def give_way(tx: Tx, claim: Claim) -> None:
    """Give the lease back until twice the parts are there, or all: the work of all attempts is at most double."""
    await LEASES.release(
        tx,
        claim.key,
        claim.fence,
        "not_before = now(), attempts = 0, wanted_parts = least(total_parts, greatest(ready_parts, 1) * 2)",
    )


async def finish(tx: Tx, claim: Claim, result: Result) -> bool:
    """open -> extracted or rejected, as `result` says. Returns False if the lease was lost."""
    transition = states.EXTRACT if isinstance(result, ArchiveExtracted) else states.REJECT
    return await LEASES.release(
        tx,
        claim.key,
        claim.fence,
        f"state = $3, result = $4, ended_at = now(), checkpoint = NULL, {WITHOUT_CREDENTIALS}",
        transition.target,
        result,
    )
