"""What a service said: the events in its outbox."""

from __future__ import annotations

from libs.contracts import Event, decode_event
from libs.db import Pool


async def emitted(pool: Pool) -> list[Event]:
    """Every event that was committed to the outbox, published or not, in the order of their rows."""
    rows = await pool.fetch("SELECT type, body::text FROM outbox ORDER BY seq")
    return [decode_event(type_name, body.encode()) for type_name, body in rows]
