"""The SQL of outbox, inbox and attempts; one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from libs.db import Tx


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits to be published."""

    seq: int
    event_id: str
    type: str
    body: str  # JSON
    request_id: str | None
    traceparent: str | None
    replays: int

    @property
    def msg_id(self) -> str:
        """The broker's dedup key; a replay has its own, or the dedup window would eat it."""
        return f"{self.event_id}#{self.replays}" if self.replays else self.event_id


async def append(
    tx: Tx,
    event_ids: Sequence[str],
    types: Sequence[str],
    bodies: Sequence[str],
    context: tuple[str | None, str | None],
) -> None:
    """Add events in the order given; `context` is request id and traceparent."""
    await tx.execute(
        """
        INSERT INTO outbox (event_id, type, body, request_id, traceparent)
        SELECT event_id, type, body::json, $4, $5
          FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS e (event_id, type, body, position)
         ORDER BY position
        """,
        event_ids,
        types,
        bodies,
        *context,
    )


async def claim(tx: Tx, limit: int, limit_bytes: int) -> list[Row]:
    """The oldest unpublished rows, locked until `tx` ends; rows that another relay holds are left to it.

    At most `limit`, and no more after `limit_bytes` of bodies; but one, if there is one.
    """
    rows = await tx.fetch(
        """
        WITH claimed AS MATERIALIZED (
            SELECT seq, octet_length(body::text) AS size_bytes
              FROM outbox
             WHERE published_at IS NULL AND (retry_at IS NULL OR retry_at <= now())
             ORDER BY seq
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        ), measured AS (
            SELECT seq, sum(size_bytes) OVER (ORDER BY seq) - size_bytes AS bytes_before FROM claimed
        )
        SELECT seq, event_id, type, body, request_id, traceparent, replays
          FROM outbox JOIN measured USING (seq)
         WHERE bytes_before < $2
         ORDER BY seq
        """,
        limit,
        limit_bytes,
    )
    return [Row(**row) for row in rows]


async def mark_published(tx: Tx, seqs: Sequence[int]) -> None:
    """Record that the broker has stored these."""
    await tx.execute("UPDATE outbox SET published_at = now(), retry_at = NULL WHERE seq = ANY($1)", seqs)


async def postpone(tx: Tx, seqs: Sequence[int], pause: timedelta) -> None:
    """Let others go past rows that the broker refused."""
    await tx.execute("UPDATE outbox SET retry_at = now() + $2 WHERE seq = ANY($1)", seqs, pause)


async def reopen(tx: Tx, since: datetime | None, event_ids: Sequence[str] | None) -> int:
    """Make published rows go out again; None means no restriction. Returns how many."""
    status = await tx.execute(
        """
        UPDATE outbox SET published_at = NULL, replays = replays + 1
         WHERE published_at IS NOT NULL
           AND ($1::timestamptz IS NULL OR created_at >= $1)
           AND ($2::text[] IS NULL OR event_id = ANY($2))
        """,
        since,
        event_ids,
    )
    return _count(status)


async def unpublished(tx: Tx) -> int:
    """How many rows wait."""
    return int(await tx.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))


async def prune_outbox(tx: Tx, keep: timedelta, limit: int) -> int:
    """Delete up to `limit` rows that were published longer ago than `keep`."""
    status = await tx.execute(
        """
        DELETE FROM outbox
         WHERE seq IN (SELECT seq FROM outbox WHERE published_at < now() - $1::interval
                        LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        keep,
        limit,
    )
    return _count(status)


async def prune_inbox(tx: Tx, keep: timedelta, limit: int) -> int:
    """Delete up to `limit` rows of events seen longer ago than `keep`."""
    status = await tx.execute(
        """
        DELETE FROM inbox
         WHERE ctid IN (SELECT ctid FROM inbox WHERE seen_at < now() - $1::interval
                         LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        keep,
        limit,
    )
    return _count(status)


async def prune_attempts(tx: Tx, keep: timedelta) -> int:
    """Delete the attempts last begun longer ago than `keep`."""
    return _count(await tx.execute("DELETE FROM attempt WHERE updated_at < now() - $1::interval", keep))


async def first_seen(tx: Tx, consumer: str, event_id: str) -> bool:
    """Note that `consumer` applies the event; False if it was noted before. A racing twin waits here for our commit."""
    inserted = await tx.fetchval(
        "INSERT INTO inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        consumer,
        event_id,
    )
    return inserted is not None


async def was_seen(tx: Tx, consumer: str, event_id: str) -> bool:
    """Whether `consumer` has applied the event."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT 1 FROM inbox WHERE consumer = $1 AND event_id = $2)", consumer, event_id
        )
    )


async def add_attempt(tx: Tx, consumer: str, event_id: str, change: int) -> int:
    """Add `change` (1 or -1) to the attempts begun; returns their number."""
    return int(
        await tx.fetchval(
            """
            INSERT INTO attempt (consumer, event_id, begun) VALUES ($1, $2, greatest($3, 0))
            ON CONFLICT (consumer, event_id)
            DO UPDATE SET begun = greatest(attempt.begun + $3, 0), updated_at = now()
            RETURNING begun
            """,
            consumer,
            event_id,
            change,
        )
    )


def _count(status: str) -> int:
    """The number in a command tag such as "UPDATE 3"."""
    return int(status.rsplit(" ", 1)[1])
