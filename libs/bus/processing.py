"""Processes one message: applies its event once, then answers with ack, nak or term."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from libs import telemetry
from libs.bus.connection import Bus
from libs.bus.deadletter import DeadLetter
from libs.bus.delivery import Delivery
from libs.bus.handlers import Handlers, Registration
from libs.bus.retries import GiveUp, NotKnownYet, after_error
from libs.contracts import Event, decode_event
from libs.db import Pool, Tx
from libs.errors import Invalid, SlipwayError, Unavailable
from libs.outbox import (
    REQUEST_ID_HEADER,
    TRACEPARENT_HEADER,
    Handler,
    apply_idempotent,
    apply_once,
    begin_attempt,
    seen,
    uncount_attempt,
)

_DEAD_LETTER_RETRY_S = 2.0

log = logging.getLogger(__name__)


class Exhausted(SlipwayError):
    """Handling the event never finished, in as many attempts as are allowed; it may be killing its process."""


class Processor(ABC):
    """Common part of events and dead letters: counts attempts, maps errors to retries, sends the answer.

    Attempts are counted in Postgres, before the event is handled, from the second delivery on. The broker's own count
    does not distinguish a delivery that was put back because S3 was down (which must not count) from one that killed
    its process (which must), and a count in memory is lost with the process.
    """

    def __init__(self, pool: Pool, name: str, max_deliver: int) -> None:
        """`name`: the consumer's, in the tables of the inbox and of attempts."""
        self._pool = pool
        self._name = name
        self._max_deliver = max_deliver

    @abstractmethod
    async def apply(self, delivery: Delivery, event: Event) -> None:
        """Apply the event once."""

    @abstractmethod
    def read(self, delivery: Delivery) -> Event:
        """Decode the message's event. Raises: NotKnownYet; Invalid."""

    @abstractmethod
    async def give_up(self, delivery: Delivery, error: Exception, reason: str) -> None:
        """Keep a dead letter if one is needed, then terminate the message.

        Raises: Unavailable if the letter cannot be kept now.
        """

    async def __call__(self, delivery: Delivery) -> None:
        """Handle one delivery and answer it."""
        headers = delivery.headers
        traceparent = headers.get(TRACEPARENT_HEADER)
        with telemetry.bind(
            request_id=headers.get(REQUEST_ID_HEADER),
            traceparent=telemetry.child_traceparent(traceparent) if traceparent else None,
        ):
            started = time.perf_counter()
            attempts = 1
            event: Event | None = None
            try:
                event = self.read(delivery)
                attempts = await self._count(delivery, event)
                await self.apply(delivery, event)
            except Exception as error:  # noqa: BLE001  # the edge: every error becomes a nak or a term
                await self._settle(delivery, event, attempts, error)
            else:
                await delivery.ack()
            telemetry.handler_seconds.labels(delivery.tag).observe(time.perf_counter() - started)

    async def _count(self, delivery: Delivery, event: Event) -> int:
        """Return the number of this attempt, from 1. Raises: Exhausted."""
        if delivery.delivered == 1:
            telemetry.event_lag_seconds.labels(delivery.tag).observe(max(_since(event.at), 0.0))
            return 1
        attempts = 1 + await begin_attempt(self._pool, self._name, event.id)
        if attempts > self._max_deliver:
            raise Exhausted
        return attempts

    async def _settle(self, delivery: Delivery, event: Event | None, attempts: int, error: Exception) -> None:
        """Answer a message whose handler raised."""
        age_s = _since(event.at if event else delivery.stored_at)
        decision = after_error(
            error, attempts=attempts, delivered=delivery.delivered, age_s=age_s, max_deliver=self._max_deliver
        )
        facts = {"event": delivery.tag, "event_id": _event_id(delivery), "delivered": delivery.delivered}
        trace = None if isinstance(error, SlipwayError) else error  # an error with a name of its own needs no traceback
        if isinstance(decision, GiveUp):
            log.error("%s: given up: %s", self._name, decision.reason, extra=facts, exc_info=trace)
            await self._give_up(delivery, error, decision.reason)
            return
        log.warning("%s: put back: %s", self._name, error, extra=facts, exc_info=trace)
        telemetry.retries.labels(delivery.tag, type(error).__name__).inc()
        if event and attempts > 1 and not decision.counted:
            await self._uncount(event)
        await delivery.nak(decision.delay_s)

    async def _uncount(self, event: Event) -> None:
        try:
            await uncount_attempt(self._pool, self._name, event.id)
        except Unavailable as error:
            # At most one attempt is lost for each outage of Postgres: while it lasts, none are counted.
            log.debug("attempt still counted: %s", error)

    async def _give_up(self, delivery: Delivery, error: Exception, reason: str) -> None:
        try:
            await self.give_up(delivery, error, reason)
        except Unavailable as unavailable:
            log.warning("%s: dead letter not kept yet: %s", self._name, unavailable)
            await delivery.nak(_DEAD_LETTER_RETRY_S)
            return
        telemetry.dead_letters.labels(delivery.tag).inc()


class EventProcessor(Processor):
    """Applies events with the handlers of a table."""

    def __init__(self, bus: Bus, pool: Pool, handlers: Handlers, context: object, max_deliver: int) -> None:
        super().__init__(pool, handlers.service, max_deliver)
        self._bus = bus
        self._table = handlers.events
        self._context = context

    def read(self, delivery: Delivery) -> Event:
        return _decode(self._table, delivery.tag, delivery.body)

    async def apply(self, delivery: Delivery, event: Event) -> None:
        entry = self._table[delivery.tag]
        handle: Handler = entry.handle
        if entry.prepare is not None:
            if not entry.idempotent and await seen(self._pool, self._name, event.id):
                return
            handle = _with(entry, await entry.prepare(event, self._context))
        if entry.idempotent:
            await apply_idempotent(self._pool, handle, event)
        else:
            await apply_once(self._pool, self._name, handle, event)

    async def give_up(self, delivery: Delivery, error: Exception, reason: str) -> None:
        letter = DeadLetter(
            consumer=self._name,
            subject=delivery.tag,
            event_type=delivery.tag,
            event_id=_event_id(delivery),
            reason=reason,
            error_type=type(error).__name__,
            delivered=delivery.delivered,
            at=datetime.now(UTC),
            request_id=delivery.headers.get(REQUEST_ID_HEADER),
            original=delivery.body,
        )
        sequence, stored_at = delivery.key
        msg_id = f"{self._name}:{sequence}:{stored_at.isoformat()}"  # the same at each attempt to publish the letter
        try:
            await self._bus.publish(letter.letter_subject, letter.encode(), delivery.context_headers, msg_id)
        except Invalid:  # too large with its original
            bare = msgspec.structs.replace(letter, original=b"")
            await self._bus.publish(letter.letter_subject, bare.encode(), delivery.context_headers, msg_id)
        await delivery.term()


class DeadLetterProcessor(Processor):
    """Applies dead letters with the handlers of a table. One that cannot be handled stays on DEAD; no other is made."""

    def __init__(self, pool: Pool, handlers: Handlers, max_deliver: int) -> None:
        super().__init__(pool, f"{handlers.service}-dead", max_deliver)
        self._table = handlers.letters

    def read(self, delivery: Delivery) -> Event:
        letter = _letter(delivery)
        return _decode(self._table, letter.event_type, letter.original)

    async def apply(self, delivery: Delivery, event: Event) -> None:
        letter = _letter(delivery)
        handle = self._table[letter.event_type].handle

        async def handler(event: Event, tx: Tx) -> list[Event]:
            return await handle(letter, event, tx)

        # Two consumers may give up the same event; each letter is applied.
        await apply_once(self._pool, f"{self._name}:{letter.consumer}", handler, event)

    async def give_up(self, delivery: Delivery, error: Exception, reason: str) -> None:
        await delivery.term()


def _with(entry: Registration, prepared: object) -> Handler:
    """The entry's handler with the result of its `prepare` bound."""

    async def handler(event: Event, tx: Tx) -> list[Event]:
        return await entry.handle(event, tx, prepared)

    return handler


def _decode(table: Mapping[str, Registration], tag: str, raw: bytes) -> Event:
    """Decode an event. Raises: NotKnownYet if only a newer release can read it; Invalid if none can."""
    if tag not in table:
        raise NotKnownYet(f"This release handles no {tag}.")
    try:
        event = decode_event(tag, raw)
    except KeyError as error:
        raise NotKnownYet(f"This release knows no {tag}.") from error
    except msgspec.DecodeError as error:
        raise _unreadable(tag, raw, error) from error
    if event.at.tzinfo is None:
        raise Invalid(f"The bytes are no {tag}: its time has no zone")
    return event


def _letter(delivery: Delivery) -> DeadLetter:
    try:
        return DeadLetter.decode(delivery.body)
    except msgspec.DecodeError as error:
        raise _unreadable("dead letter", delivery.body, error) from error


def _unreadable(what: str, raw: bytes, error: msgspec.DecodeError) -> SlipwayError:
    """The error to raise: JSON of another shape (an unknown enum value, say) is a newer release's; else broken."""
    try:
        msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return Invalid(f"The bytes are no {what}: {error}")
    return NotKnownYet(f"This release cannot read this {what}: {error}")


def _event_id(delivery: Delivery) -> str | None:
    """The event's id from the broker's dedup key, without its replay number; the body may be unreadable."""
    msg_id = delivery.headers.get("Nats-Msg-Id")
    return msg_id.partition("#")[0] if msg_id else None


def _since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()
