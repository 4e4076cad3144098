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


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the broker will not take."""

    event_id: str
    type: str
    reason: str
    since: datetime  # UTC


async def append(
    tx: Tx,
    event_ids: Sequence[str],
    types: Sequence[str],
    bodies: Sequence[str],
    context: tuple[str | None, str | None],
) -> list[Row]:
    """Add events in the order given; `context` is request id and traceparent. Returns the rows that are there now."""
    rows = await tx.fetch(
        """
        INSERT INTO outbox (event_id, type, body, request_id, traceparent)
        SELECT event_id, type, body::json, $4, $5
          FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS e (event_id, type, body, position)
         ORDER BY position
        RETURNING seq, event_id, type, body, request_id, traceparent, replays
        """,
        event_ids,
        types,
        bodies,
        *context,
    )
    return [Row(**row) for row in rows]


async def left_behind(tx: Tx, older_than: timedelta, limit: int, limit_bytes: int) -> list[Row]:
    """The oldest unpublished rows that were begun longer ago than `older_than`, less those that wait after a refusal.

    At most `limit`, and no more after `limit_bytes` of bodies; but one, if there is one.
    """
    rows = await tx.fetch(
        """
        WITH waiting AS MATERIALIZED (
            SELECT seq, octet_length(body::text) AS size_bytes
              FROM outbox
             WHERE published_at IS NULL AND (retry_at IS NULL OR retry_at <= now())
               AND created_at <= now() - $3::interval
             ORDER BY seq
             LIMIT $1
        ), measured AS (
            SELECT seq, sum(size_bytes) OVER (ORDER BY seq) - size_bytes AS bytes_before FROM waiting
        )
        SELECT seq, event_id, type, body, request_id, traceparent, replays
          FROM outbox JOIN measured USING (seq)
         WHERE bytes_before < $2
         ORDER BY seq
        """,
        limit,
        limit_bytes,
        older_than,
    )
    return [Row(**row) for row in rows]


async def mark_published(tx: Tx, seqs: Sequence[int]) -> None:
    """Record that the broker has stored these."""
    await tx.execute(
        """
        UPDATE outbox SET published_at = now(), retry_at = NULL, refused_at = NULL, refused_reason = NULL
         WHERE seq = ANY($1) AND published_at IS NULL
        """,
        seqs,
    )


async def refuse(tx: Tx, seqs: Sequence[int], reasons: Sequence[str], first: timedelta, longest: timedelta) -> None:
    """Record that the broker will not take these; each is tried again after a pause twice as long as the one before."""
    await tx.execute(
        """
        UPDATE outbox
           SET refused_at = coalesce(refused_at, now()), refused_reason = reason, refusals = refusals + 1,
               retry_at = now() + least($3::interval * power(2, least(refusals, 20)), $4::interval)
          FROM unnest($1::bigint[], $2::text[]) AS refused (seq, reason)
         WHERE outbox.seq = refused.seq AND published_at IS NULL
        """,
        seqs,
        reasons,
        first,
        longest,
    )


async def refused(tx: Tx, limit: int) -> list[Refused]:
    """The oldest events that the broker will not take."""
    rows = await tx.fetch(
        """
        SELECT event_id, type, refused_reason AS reason, refused_at AS since
          FROM outbox
         WHERE refused_at IS NOT NULL AND published_at IS NULL
         ORDER BY seq
         LIMIT $1
        """,
        limit,
    )
    return [Refused(**row) for row in rows]


async def retry(tx: Tx, event_ids: Sequence[str] | None) -> int:
    """Let refused rows be tried again now; None means all. Returns how many."""
    status = await tx.execute(
        """
        UPDATE outbox SET retry_at = NULL
         WHERE refused_at IS NOT NULL AND published_at IS NULL AND ($1::text[] IS NULL OR event_id = ANY($1))
        """,
        event_ids,
    )
    return _count(status)


async def now(tx: Tx) -> datetime:
    """The database's clock."""
    moment: datetime = await tx.fetchval("SELECT now()")
    return moment


async def reopen(tx: Tx, since: datetime | None, before: datetime, event_ids: Sequence[str] | None, limit: int) -> int:
    """Make up to `limit` rows that were published before `before` go out again; None means no restriction.

    Returns how many. A row is published after it is made, so the index on that time finds those made since `since`.
    """
    status = await tx.execute(
        """
        UPDATE outbox SET published_at = NULL, replays = replays + 1
         WHERE seq = ANY(ARRAY(
               SELECT seq FROM outbox
                WHERE published_at < $2
                  AND ($1::timestamptz IS NULL OR (published_at >= $1 AND created_at >= $1))
                  AND ($3::text[] IS NULL OR event_id = ANY($3))
                LIMIT $4))
        """,
        since,
        before,
        event_ids,
        limit,
    )
    return _count(status)


async def hold_lease(tx: Tx, holder: str, lease: timedelta) -> bool:
    """Take the schema's lease if it is free, or keep it; False, and nothing written, where another holds it."""
    held = await tx.fetchval(
        """
        INSERT INTO relay_lease (holder, held_until)
        SELECT $1, now() + $2::interval
         WHERE NOT EXISTS (SELECT FROM relay_lease WHERE holder <> $1 AND held_until > now())
        ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
         WHERE relay_lease.holder = $1 OR relay_lease.held_until <= now()
        RETURNING true
        """,
        holder,
        lease,
    )
    return held is not None


async def release_lease(tx: Tx, holder: str) -> None:
    """Let the next one that asks have the lease."""
    await tx.execute("UPDATE relay_lease SET held_until = now() WHERE holder = $1", holder)


async def unpublished(tx: Tx) -> int:
    """How many rows wait."""
    return int(await tx.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))


async def count_refused(tx: Tx) -> int:
    """How many of them the broker will not take."""
    return int(await tx.fetchval("SELECT count(*) FROM outbox WHERE refused_at IS NOT NULL AND published_at IS NULL"))


async def prune_outbox(tx: Tx, keep: timedelta, limit: int) -> int:
    """Delete up to `limit` rows that were published longer ago than `keep`."""
    status = await tx.execute(
        """
        DELETE FROM outbox
         WHERE seq = ANY(ARRAY(
               SELECT seq FROM outbox WHERE published_at < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED))
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
         WHERE ctid = ANY(ARRAY(
               SELECT ctid FROM inbox WHERE seen_at < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        keep,
        limit,
    )
    return _count(status)


async def prune_attempts(tx: Tx, keep: timedelta, limit: int) -> int:
    """Delete up to `limit` attempts last begun longer ago than `keep`."""
    status = await tx.execute(
        """
        DELETE FROM attempt
         WHERE ctid = ANY(ARRAY(
               SELECT ctid FROM attempt WHERE updated_at < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        keep,
        limit,
    )
    return _count(status)


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
