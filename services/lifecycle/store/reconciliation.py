"""When storage is compared with the table of objects next, and by whom: one process at a time."""

from __future__ import annotations

from datetime import datetime

from libs.db import Tx


async def claim(tx: Tx, worker: str, lease_s: float) -> datetime | None:
    """Begin, if it is time. Returns the present time by the database's clock, or None if there is nothing to do."""
    started_at: datetime | None = await tx.fetchval(
        """
        UPDATE reconciliation SET leased_by = $1, lease_until = now() + make_interval(secs => $2)
         WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
        RETURNING now()
        """,
        worker,
        lease_s,
    )
    return started_at


async def renew(tx: Tx, worker: str, lease_s: float) -> bool:
    """Go on for longer. Returns False if another process is at it now."""
    tag: str = await tx.execute(
        "UPDATE reconciliation SET lease_until = now() + make_interval(secs => $2) WHERE leased_by = $1",
        worker,
        lease_s,
    )
    return tag == "UPDATE 1"


async def finish(tx: Tx, worker: str, next_in_s: float) -> None:
    """Done; the next one is due in `next_in_s`."""
    await tx.execute(
        """
        UPDATE reconciliation SET leased_by = NULL, lease_until = NULL, finished_at = now(),
                                  due_at = now() + make_interval(secs => $2)
         WHERE leased_by = $1
        """,
        worker,
        next_in_s,
    )


async def put_back(tx: Tx, worker: str, delay_s: float) -> None:
    """Not done; to be begun again in `delay_s`."""
    await tx.execute(
        """
        UPDATE reconciliation SET leased_by = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $2)
         WHERE leased_by = $1
        """,
        worker,
        delay_s,
    )


async def request(tx: Tx) -> None:
    """Have it begin now."""
    await tx.execute("UPDATE reconciliation SET due_at = now()")
