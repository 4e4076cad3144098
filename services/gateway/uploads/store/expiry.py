"""An upload that makes progress does not expire: the clause for statements that record progress."""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Lifetime(msgspec.Struct, frozen=True):
    """How long an upload lives: after its last progress, and at most."""

    ttl: timedelta
    longest: timedelta


def extended(source: str, *, ttl: str, longest: str) -> str:
    """A CTE that moves `expires_at` of the upload $1 where the CTE `source` has rows.

    It moves by more than a tenth of the ttl at once, so that parts that come every second do not write that row.
    """
    until = f"least(created_at + {longest}::interval, now() + {ttl}::interval)"
    return f"""extended AS (
                UPDATE upload SET expires_at = {until}
                 WHERE id = $1 AND expires_at < {until} - {ttl}::interval / 10
                   AND EXISTS (SELECT FROM {source}))"""
