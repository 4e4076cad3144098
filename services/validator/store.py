"""All SQL of the validator: a verdict is written once and never changed."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.contracts import Report
from libs.db import Tx


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out in one validation."""

    report: Report
    decided_at: datetime  # UTC


async def find(tx: Tx, validation_id: str) -> Verdict | None:
    """The verdict of this validation, if there is one."""
    row = await tx.fetchrow("SELECT report, decided_at FROM verdict WHERE validation_id = $1", validation_id)
    if row is None:
        return None
    return Verdict(report=msgspec.convert(row["report"], Report), decided_at=row["decided_at"])


async def record(tx: Tx, validation_id: str, model_id: str, verdict: Verdict) -> Verdict:
    """Write the verdict down. Of two that race the first stays. Returns: the one that is there."""
    written = await tx.fetchval(
        """
        INSERT INTO verdict (validation_id, model_id, passed, report, decided_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (validation_id) DO NOTHING
        RETURNING validation_id
        """,
        validation_id,
        model_id,
        verdict.report.passed,
        verdict.report,
        verdict.decided_at,
    )
    if written is None:
        first = await find(tx, validation_id)
        return first or verdict
    return verdict


async def forget(tx: Tx, older_than_s: float) -> int:
    """Remove verdicts that nobody will ask about again. Returns: how many."""
    gone = await tx.fetchval(
        """
        WITH gone AS (
            DELETE FROM verdict WHERE decided_at < now() - make_interval(secs => $1) RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        older_than_s,
    )
    return int(gone)
