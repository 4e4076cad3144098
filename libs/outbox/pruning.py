"""What goes of the outbox, the inbox and the attempts, and when: in small transactions, each on an index."""

from __future__ import annotations

from datetime import timedelta

from libs.db import Pool, transaction
from libs.outbox import store

KEEP_PUBLISHED = timedelta(days=7)  # as long as EVENTS keeps them: what can be replayed
KEEP_SEEN = timedelta(days=14)  # longer than anything may be redelivered or replayed

PRUNE_BATCH = 5_000


async def prune_some(
    pool: Pool, *, keep_published: timedelta = KEEP_PUBLISHED, keep_seen: timedelta = KEEP_SEEN
) -> int:
    """Delete a batch of published events, of inbox rows and of attempts. Returns how many; 0 where none are old."""
    async with transaction(pool) as tx:
        pruned = await store.prune_outbox(tx, keep_published, PRUNE_BATCH)
    async with transaction(pool) as tx:
        pruned += await store.prune_inbox(tx, keep_seen, PRUNE_BATCH)
    async with transaction(pool) as tx:
        pruned += await store.prune_attempts(tx, keep_seen, PRUNE_BATCH)
    return pruned


async def prune(pool: Pool, *, keep_published: timedelta = KEEP_PUBLISHED, keep_seen: timedelta = KEEP_SEEN) -> int:
    """Delete all that is older than told. Returns how many rows."""
    pruned = 0
    while some := await prune_some(pool, keep_published=keep_published, keep_seen=keep_seen):
        pruned += some
    return pruned
