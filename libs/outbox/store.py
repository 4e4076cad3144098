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
    """An event that the broker refuses."""

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
    """Add events in the order given; `context` is request id and traceparent. Returns their rows."""
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
    """The oldest unpublished rows of transactions that began longer than `older_than` ago, except those refused lately.

    At most `limit` rows, and no further ones after `limit_bytes` of bodies; at least one, if there is any.
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
    """Record that the broker refuses rows. Each is tried again after pauses doubling from `first` to `longest`."""
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
    """The oldest events that the broker refuses."""
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
    """Let refused rows be published again now; None: all. Returns how many."""
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
    """Mark up to `limit` rows that were published before `before` as unpublished; None: no restriction.

    Returns how many. A row is published after it is created, so the index on that time finds those created `since`.
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
    """Claim or renew the leader's lease. Returns False, with nothing written, where another process holds it."""
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
    """End the lease, so that another process can claim it at once."""
    await tx.execute("UPDATE relay_lease SET held_until = now() WHERE holder = $1", holder)


async def unpublished(tx: Tx) -> int:
    """How many rows are not published."""
    return int(await tx.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))


async def count_refused(tx: Tx) -> int:
    """How many rows the broker refuses."""
    return int(await tx.fetchval("SELECT count(*) FROM outbox WHERE refused_at IS NOT NULL AND published_at IS NULL"))


async def first_seen(tx: Tx, consumer: str, event_id: str) -> bool:
    """Record that `consumer` applies the event. Returns False if that was recorded before.

    A concurrent transaction that applies the same event waits here until this one has ended.
    """
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
