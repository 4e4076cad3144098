"""This installation: its id, and how many audits it has begun."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.db import Tx, columns


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """This installation, as its database knows it."""

    id: str
    generation: int  # audits begun
    created_at: datetime  # UTC


async def load(tx: Tx) -> Installation:
    """Read the installation's row."""
    return Installation(**await tx.fetchrow(f"SELECT {columns(Installation)} FROM installation"))


async def advance(tx: Tx, *, beyond: int = 0) -> Installation:
    """Begin the next generation, with a number above `beyond`."""
    return Installation(
        **await tx.fetchrow(
            f"UPDATE installation SET generation = greatest(generation, $1) + 1 RETURNING {columns(Installation)}",
            beyond,
        )
    )
