"""The audit under way: its phase, how far it has come, what it has counted, and which process is at it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from libs.db import Tx, columns

Phase = Literal["idle", "scan", "confirm", "ask", "forget"]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of a pass has found; columns of the same names hold the sums."""

    objects: int = 0  # of this installation's projects
    size_bytes: int = 0
    files: int = 0  # of `objects`, those of models; the others are parts
    unclaimed: int = 0
    unclaimed_files: int = 0
    missing: int = 0
    newly_missing: int = 0
    foreign_objects: int = 0


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed slice of a pass."""

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
    expected_objects: int


_COLUMNS = columns(Audit).replace("audit,", "pass AS audit,")
_ZERO = ", ".join(f"{name} = 0" for name in Counts.__struct_fields__)
_SUMS = ", ".join(f"{name} = {name} + ${number}" for number, name in enumerate(Counts.__struct_fields__, start=4))


async def claim(tx: Tx, worker: str, lease_s: float) -> Audit | None:
    """Take the next slice, if it is due and no process holds the lease."""
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET leased_by = $1, lease_until = now() + make_interval(secs => $2), fence = fence + 1
         WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
        RETURNING {_COLUMNS}
        """,
        worker,
        lease_s,
    )
    return Audit(**row) if row is not None else None


async def begin(tx: Tx, fence: int, *, stopped: str | None) -> Audit | None:
    """Begin a pass. Returns None if another process has taken over."""
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET phase = 'scan', pass = pass + 1, cursor_key = '', started_at = now(), stopped = $2, {_ZERO}
         WHERE fence = $1
        RETURNING {_COLUMNS}
        """,
        fence,
        stopped,
    )
    return Audit(**row) if row is not None else None


async def advance(tx: Tx, fence: int, cursor_key: str, lease_s: float, counts: Counts) -> Audit | None:
    """Record how far the phase has come, and hold the lease for longer.

    Returns None if another process has taken over; then `tx` has to be rolled back.
    """
    row = await tx.fetchrow(
        f"""
        UPDATE reconciliation
           SET cursor_key = $2, lease_until = now() + make_interval(secs => $3), {_SUMS}
         WHERE fence = $1
        RETURNING {_COLUMNS}
        """,
        fence,
        cursor_key,
        lease_s,
        *msgspec.structs.astuple(counts),
    )
    return Audit(**row) if row is not None else None


async def enter(tx: Tx, fence: int, phase: Phase, *, delay_s: float, stopped: str | None, whole: bool) -> None:
    """Go on with another phase in `delay_s`, and give the lease back; nothing if another process has taken over.

    `whole`: everything was compared, so that the counts are what the next pass may expect.
    """
    await tx.execute(
        """
        UPDATE reconciliation
           SET phase = $2, cursor_key = '', stopped = coalesce($4, stopped), leased_by = NULL, lease_until = NULL,
               due_at = now() + make_interval(secs => $3),
               expected_objects = CASE WHEN $5 THEN objects + missing ELSE expected_objects END
         WHERE fence = $1
        """,
        fence,
        phase,
        delay_s,
        stopped,
        whole,
    )


async def put_back(tx: Tx, fence: int, *, delay_s: float) -> None:
    """Give the lease back; the pass goes on where it stands in `delay_s`."""
    await tx.execute(
        """
        UPDATE reconciliation SET leased_by = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $2)
         WHERE fence = $1
        """,
        fence,
        delay_s,
    )


async def finish(tx: Tx, fence: int, *, next_in_s: float) -> bool:
    """The pass has ended; the next one is due in `next_in_s`. False if another process has taken over."""
    tag: str = await tx.execute(
        """
        UPDATE reconciliation
           SET phase = 'idle', cursor_key = '', fix = false, leased_by = NULL, lease_until = NULL, finished_at = now(),
               due_at = now() + make_interval(secs => $2)
         WHERE fence = $1
        """,
        fence,
        next_in_s,
    )
    return tag == "UPDATE 1"


async def request(tx: Tx, *, fix: bool = False) -> None:
    """Have a pass begin now; one that is under way begins again. `fix`: an operator has decided."""
    await tx.execute(
        """
        UPDATE reconciliation
           SET phase = 'idle', fence = fence + 1, leased_by = NULL, lease_until = NULL, due_at = now(), fix = fix OR $1
        """,
        fix,
    )


async def last(tx: Tx) -> Audit | None:
    """The last pass, unless one is under way."""
    row = await tx.fetchrow(f"SELECT {_COLUMNS} FROM reconciliation WHERE phase = 'idle'")
    return Audit(**row) if row is not None else None
