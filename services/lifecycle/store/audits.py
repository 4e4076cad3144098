"""The audit that is under way: its phase, its cursor, its counts, and the lease on its next slice. One row."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from libs.db import Tx, columns
from libs.leases import LeaseTable

Phase = Literal["idle", "scan", "confirm", "ask", "forget"]

LEASES = LeaseTable[bool](table="reconciliation", key="single", key_type="boolean")
ROW = True  # the key of the one row
CHANNEL = "reconcile"  # signalled when an audit was requested


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a part of a pass; columns of the same names hold the sums."""

    objects: int = 0  # of this installation's projects
    size_bytes: int = 0
    files: int = 0  # of `objects`, those of models; the others are parts
    unclaimed: int = 0
    unclaimed_files: int = 0
    missing: int = 0
    newly_missing: int = 0
    foreign_objects: int = 0
    unclaimed_bytes: int = 0
    missing_bytes: int = 0
    cold_objects: int = 0  # of `objects`, those in the cold tier
    cold_bytes: int = 0
    leftovers: int = 0  # second copies, in the tier that is not the object's
    leftover_bytes: int = 0
    misplaced: int = 0  # only in the tier that is not the object's
    expiring: int = 0  # had by deleted models only
    expiring_bytes: int = 0


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A leased slice of a pass."""

    fence: int
    audit: int  # the number of the pass
    phase: Phase
    cursor_key: str
    fix: bool
    started_at: datetime  # of the pass, by the database's clock
    stopped: str | None
    objects: int
    size_bytes: int
    files: int
    unclaimed: int
    unclaimed_files: int
    missing: int
    newly_missing: int
    foreign_objects: int
    unclaimed_bytes: int
    missing_bytes: int
    cold_objects: int
    cold_bytes: int
    leftovers: int
    leftover_bytes: int
    misplaced: int
    expiring: int
    expiring_bytes: int
    expected_objects: int


_COLUMNS = columns(Audit).replace("audit,", "pass AS audit,")
_ZERO = ", ".join(f"{name} = 0" for name in Counts.__struct_fields__)
_SUMS = ", ".join(f"{name} = {name} + ${number}" for number, name in enumerate(Counts.__struct_fields__, start=5))


async def claim(tx: Tx, worker: str, lease_s: float) -> Audit | None:
    """Lease the next slice. Returns None if it is not due, or another process holds the lease."""
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET {LEASES.claimed()}
         WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
        RETURNING {_COLUMNS}
        """,
        worker,
        lease_s,
    )
    return Audit(**row) if row is not None else None


async def begin(tx: Tx, fence: int, *, stopped: str | None) -> Audit | None:
    """Begin a pass. Returns None if the lease was lost."""
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET phase = 'scan', pass = pass + 1, cursor_key = '', started_at = now(), stopped = $3, {_ZERO}
         WHERE {LEASES.held}
        RETURNING {_COLUMNS}
        """,
        ROW,
        fence,
        stopped,
    )
    return Audit(**row) if row is not None else None


async def advance(tx: Tx, fence: int, cursor_key: str, lease_s: float, counts: Counts) -> Audit | None:
    """Record the cursor of the phase, add `counts`, and renew the lease.

    Returns None if the lease was lost; then `tx` has to be rolled back.
    """
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET cursor_key = $3, lease_until = {LEASES.renewed("$4")}, {_SUMS}
         WHERE {LEASES.held}
        RETURNING {_COLUMNS}
        """,
        ROW,
        fence,
        cursor_key,
        lease_s,
        *msgspec.structs.astuple(counts),
    )
    return Audit(**row) if row is not None else None


async def enter(tx: Tx, fence: int, phase: Phase, *, delay_s: float, stopped: str | None, whole: bool) -> None:
    """Give the lease back, to go on with another phase in `delay_s` seconds; nothing if the lease was lost.

    `whole`: everything was compared, so that the next pass may expect the same counts.
    """
    await LEASES.release(
        tx,
        ROW,
        fence,
        """
        phase = $3, cursor_key = '', due_at = now() + make_interval(secs => $4), stopped = coalesce($5, stopped),
        expected_objects = CASE WHEN $6 THEN objects + missing ELSE expected_objects END
        """,
        phase,
        delay_s,
        stopped,
        whole,
    )


async def put_back(tx: Tx, fence: int, *, delay_s: float) -> None:
    """Give the lease back, to go on from the cursor in `delay_s` seconds."""
    await LEASES.release(tx, ROW, fence, "due_at = now() + make_interval(secs => $3)", delay_s)


async def finish(tx: Tx, fence: int, *, next_in_s: float) -> bool:
    """End the pass; the next one is due in `next_in_s` seconds. Returns False if the lease was lost."""
    return await LEASES.release(
        tx,
        ROW,
        fence,
        "phase = 'idle', cursor_key = '', fix = false, finished_at = now(), due_at = now() + make_interval(secs => $3)",
        next_in_s,
    )


async def request(tx: Tx, *, fix: bool = False) -> None:
    """Begin a pass now, also if one is under way. `fix`: an operator has allowed what would stop the pass."""
    await tx.execute(
        f"""
        UPDATE reconciliation
           SET phase = 'idle', fence = fence + 1, {LEASES.released}, due_at = now(), fix = fix OR $1
        """,
        fix,
    )


async def last(tx: Tx) -> Audit | None:
    """The last pass; None while one is under way."""
    row = await tx.fetchrow(f"SELECT {_COLUMNS} FROM reconciliation WHERE phase = 'idle'")
    return Audit(**row) if row is not None else None
