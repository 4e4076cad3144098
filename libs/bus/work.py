"""What a consumer does with one message: apply it once, and answer with ack, nak or term."""

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
from libs.bus.handlers import Handlers, Route
from libs.bus.intake import Job
from libs.bus.verdict import Dead, NotKnownYet, judge
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
    excuse_attempt,
    seen,
)

_DEAD_RETRY_S = 2.0

log = logging.getLogger(__name__)


class Exhausted(SlipwayError):
    """It was delivered again and again, and handling it never came to an end: it may be killing its process."""


class Work(ABC):
    """The common part of events and dead letters: attempts are counted, errors judged, answers sent.

    Attempts are counted in Postgres, from the second delivery on and before it is handled. The broker's own count
    cannot tell a delivery that was put back because S3 was down (which must not use up the message's chances) from one
    that killed its process (which must), and a count in memory dies with the process.
    """

    def __init__(self, pool: Pool, name: str, max_deliver: int) -> None:
        """`name`: the consumer, for the inbox and the attempts."""
        self._pool = pool
        self._name = name
        self._max_deliver = max_deliver

    @abstractmethod
    async def apply(self, job: Job, event: Event) -> None:
        """Apply the event once."""

    @abstractmethod
    def read(self, job: Job) -> Event:
        """The event of this message. Raises: NotKnownYet; Invalid."""

    @abstractmethod
    async def give_up(self, job: Job, error: Exception, reason: str) -> None:
        """Keep what must be kept of it, then terminate it. Raises: Unavailable if it cannot be kept now."""

    async def __call__(self, job: Job) -> None:
        """Handle one delivery to its answer."""
        headers = job.headers
        traceparent = headers.get(TRACEPARENT_HEADER)
        with telemetry.bind(
            request_id=headers.get(REQUEST_ID_HEADER),
            traceparent=telemetry.child_traceparent(traceparent) if traceparent else None,
        ):
            started = time.perf_counter()
            attempts = 1
            event: Event | None = None
            try:
                event = self.read(job)
                attempts = await self._count(job, event)
                await self.apply(job, event)
            except Exception as error:  # noqa: BLE001  # the edge: every error becomes a nak or a term
                await self._settle(job, event, attempts, error)
            else:
                await job.ack()
            telemetry.handler_seconds.labels(job.tag).observe(time.perf_counter() - started)

    async def _count(self, job: Job, event: Event) -> int:
        """Which attempt this is. Raises: Exhausted."""
        if job.delivered == 1:
            telemetry.event_lag_seconds.labels(job.tag).observe(max(_since(event.at), 0.0))
            return 1
        attempts = 1 + await begin_attempt(self._pool, self._name, event.id)
        if attempts > self._max_deliver:
            raise Exhausted
        return attempts

    async def _settle(self, job: Job, event: Event | None, attempts: int, error: Exception) -> None:
        """Answer a message whose handling raised."""
        age_s = _since(event.at if event else job.stored_at)
        verdict = judge(error, attempts=attempts, delivered=job.delivered, age_s=age_s, max_deliver=self._max_deliver)
        facts = {"event": job.tag, "event_id": _event_id(job), "delivered": job.delivered}
        trace = None if isinstance(error, SlipwayError) else error  # a named error says it all
        if isinstance(verdict, Dead):
            log.error("%s: given up: %s", self._name, verdict.reason, extra=facts, exc_info=trace)
            await self._bury(job, error, verdict.reason)
            return
        log.warning("%s: put back: %s", self._name, error, extra=facts, exc_info=trace)
        telemetry.retries.labels(job.tag, type(error).__name__).inc()
        if event and attempts > 1 and not verdict.counted:
            await self._excuse(event)
        await job.nak(verdict.delay_s)

    async def _excuse(self, event: Event) -> None:
        try:
            await excuse_attempt(self._pool, self._name, event.id)
        except Unavailable as error:
            # One attempt is lost for each outage of Postgres, not more: while it is away none are counted.
            log.debug("attempt not taken back: %s", error)

    async def _bury(self, job: Job, error: Exception, reason: str) -> None:
        try:
            await self.give_up(job, error, reason)
        except Unavailable as unavailable:
            log.warning("%s: dead letter not kept yet: %s", self._name, unavailable)
            await job.nak(_DEAD_RETRY_S)
            return
        telemetry.dead_letters.labels(job.tag).inc()


class EventWork(Work):
    """Events, as the table of handlers says."""

    def __init__(self, bus: Bus, pool: Pool, handlers: Handlers, context: object, max_deliver: int) -> None:
        super().__init__(pool, handlers.service, max_deliver)
        self._bus = bus
        self._routes = handlers.events
        self._context = context

    def read(self, job: Job) -> Event:
        return _decode(self._routes, job.tag, job.body)

    async def apply(self, job: Job, event: Event) -> None:
        route = self._routes[job.tag]
        handle: Handler = route.handle
        if route.prepare is not None:
            if not route.idempotent and await seen(self._pool, self._name, event.id):
                return
            handle = _with(route, await route.prepare(event, self._context))
        if route.idempotent:
            await apply_idempotent(self._pool, handle, event)
        else:
            await apply_once(self._pool, self._name, handle, event)

    async def give_up(self, job: Job, error: Exception, reason: str) -> None:
        letter = DeadLetter(
            consumer=self._name,
            subject=job.tag,
            event_type=job.tag,
            event_id=_event_id(job),
            reason=reason,
            error_type=type(error).__name__,
            delivered=job.delivered,
            at=datetime.now(UTC),
            request_id=job.headers.get(REQUEST_ID_HEADER),
            original=job.body,
        )
        sequence, stored_at = job.key
        msg_id = f"{self._name}:{sequence}:{stored_at.isoformat()}"  # the same at each attempt to bury it
        try:
            await self._bus.publish(letter.letter_subject, letter.encode(), job.context_headers, msg_id)
        except Invalid:  # too large with its original
            bare = msgspec.structs.replace(letter, original=b"")
            await self._bus.publish(letter.letter_subject, bare.encode(), job.context_headers, msg_id)
        await job.term()


class LetterWork(Work):
    """Dead letters, as the table of handlers says. A letter that cannot be handled stays on DEAD; it makes no other."""

    def __init__(self, pool: Pool, handlers: Handlers, max_deliver: int) -> None:
        super().__init__(pool, f"{handlers.service}-dead", max_deliver)
        self._routes = handlers.letters

    def read(self, job: Job) -> Event:
        letter = _letter(job)
        return _decode(self._routes, letter.event_type, letter.original)

    async def apply(self, job: Job, event: Event) -> None:
        letter = _letter(job)
        handle = self._routes[letter.event_type].handle

        async def handler(event: Event, tx: Tx) -> list[Event]:
            return await handle(letter, event, tx)

        # Two consumers may give up the same event: each letter counts.
        await apply_once(self._pool, f"{self._name}:{letter.consumer}", handler, event)

    async def give_up(self, job: Job, error: Exception, reason: str) -> None:
        await job.term()


def _with(route: Route, prepared: object) -> Handler:
    """The route's handler, given what was prepared."""

    async def handler(event: Event, tx: Tx) -> list[Event]:
        return await route.handle(event, tx, prepared)

    return handler


def _decode(routes: Mapping[str, Route], tag: str, raw: bytes) -> Event:
    """Raises: NotKnownYet for what only a newer release can read; Invalid for what no release can."""
    if tag not in routes:
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


def _letter(job: Job) -> DeadLetter:
    try:
        return DeadLetter.decode(job.body)
    except msgspec.DecodeError as error:
        raise _unreadable("dead letter", job.body, error) from error


def _unreadable(what: str, raw: bytes, error: msgspec.DecodeError) -> SlipwayError:
    """JSON of another shape, such as a value that an enum has not here, is a newer release's; all else is broken."""
    try:
        msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return Invalid(f"The bytes are no {what}: {error}")
    return NotKnownYet(f"This release cannot read this {what}: {error}")


def _event_id(job: Job) -> str | None:
    """The event's id without reading the message, which may be unreadable: the broker's dedup key, less the replay."""
    msg_id = job.headers.get("Nats-Msg-Id")
    return msg_id.partition("#")[0] if msg_id else None


def _since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()
