"""When rows of the outbox, of the inbox and of attempts are deleted."""

from __future__ import annotations

from datetime import timedelta

from libs.db import Pool, transaction
from libs.retention import Retention

KEEP_PUBLISHED = timedelta(days=7)  # of the outbox, to be replayed; also of the stream of events
KEEP_SEEN = timedelta(days=14)  # of the inbox and of attempts; longer than an event can be redelivered or replayed

OUTBOX = Retention(table="outbox", key="seq", age="published_at")
INBOX = Retention(table="inbox", key="ctid", age="seen_at")
ATTEMPTS = Retention(table="attempt", key="ctid", age="updated_at")

BATCH_ROWS = 5_000


async def forget_some(pool: Pool) -> int:
    """Delete a batch of old rows of each table. Returns how many; 0 where none are old. Raises: Unavailable."""
    forgotten = 0
    for retention, keep in ((OUTBOX, KEEP_PUBLISHED), (INBOX, KEEP_SEEN), (ATTEMPTS, KEEP_SEEN)):
        async with transaction(pool) as tx:
            forgotten += await retention.forget_some(tx, keep.total_seconds(), BATCH_ROWS)
    return forgotten
