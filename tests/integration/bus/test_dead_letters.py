"""What becomes of messages that cannot be handled: none is lost, none comes back for ever, the reason is told."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping

import pytest

from libs.bus import DeadLetter
from libs.contracts import Event, UploadAborted, encode_event
from libs.db import Tx
from libs.errors import Invalid, Unavailable
from tests.integration.bus import killed_service
from tests.integration.bus.harness import Harness
from tests.support.bus import NOON, an_event, running
from tests.support.eventually import eventually
from tests.support.outbox import emitted
from tests.support.stack import Stack

TAG = "upload.aborted.v1"


def refuse_each(harness: Harness, error: Exception) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        await harness.called(event)
        raise error


async def has_letter(harness: Harness) -> bool:
    return bool(await harness.letters())


def a_letter(event: Event, consumer: str = "extractor") -> DeadLetter:
    return DeadLetter(
        consumer=consumer,
        subject=TAG,
        event_type=TAG,
        event_id=event.id,
        reason="the archive is damaged",
        error_type="Invalid",
        delivered=1,
        at=NOON,
        original=encode_event(event),
    )


async def test_an_invalid_event_is_given_up_at_once_with_reason_and_original(harness: Harness) -> None:
    refuse_each(harness, Invalid("there is no stream 7"))
    event = an_event()
    async with running(harness.consumer().run):
        await harness.bus.session()
        await harness.bus.publish(TAG, encode_event(event), {"Slipway-Request-Id": "req_1"}, event.id)
        await eventually(lambda: has_letter(harness))
        await eventually(harness.is_settled)

    [letter] = await harness.letters()
    assert letter.event() == event
    assert letter.event_id == event.id
    assert letter.reason == "there is no stream 7"
    assert letter.error_type == "Invalid"
    assert (letter.consumer, letter.subject, letter.delivered) == ("service", TAG, 1)
    assert letter.request_id == "req_1"
    assert harness.calls == [event.id]
    assert await harness.applied() == []


async def test_an_error_without_a_name_is_given_up_after_max_deliver(harness: Harness) -> None:
    refuse_each(harness, ZeroDivisionError("by zero"))
    event = an_event()
    async with running(harness.consumer(max_deliver=4).run):
        await harness.send(event)
        await eventually(lambda: has_letter(harness))
        await eventually(harness.is_settled)
    [letter] = await harness.letters()
    assert letter.reason == "ZeroDivisionError: by zero (tried 4 times)"
    assert harness.calls == [event.id] * 4
    assert await harness.applied() == []


async def test_one_that_fails_does_not_hold_up_the_others(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if event.upload_id == "poison":
            raise ZeroDivisionError
        await harness.apply(event, tx)
        return []

    good = [an_event() for _ in range(20)]
    async with running(harness.consumer(concurrency=1).run):
        await harness.send(an_event("poison"))
        for event in good:
            await harness.send(event)
        await eventually(lambda: harness.has_applied(*good))
        await eventually(lambda: has_letter(harness))


WITHOUT_A_ZONE = encode_event(an_event()).replace(b"Z", b"")


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b'{"type":', WITHOUT_A_ZONE])
async def test_bytes_that_are_no_event_are_given_up_as_they_came(harness: Harness, raw: bytes) -> None:
    refuse_each(harness, AssertionError())
    async with running(harness.consumer().run):
        await harness.bus.session()
        await harness.bus.publish(TAG, raw, {}, "event-1")
        await eventually(lambda: has_letter(harness))
        await eventually(harness.is_settled)
    [letter] = await harness.letters()
    assert (letter.original, letter.event_id, letter.event_type) == (raw, "event-1", TAG)
    assert letter.reason.startswith(f"The bytes are no {TAG}")
    assert harness.calls == []


async def test_a_message_too_large_for_a_letter_is_given_up_without_its_original(harness: Harness) -> None:
    refuse_each(harness, AssertionError())
    async with running(harness.consumer().run):
        await harness.bus.session()
        await harness.bus.publish(TAG, bytes(7 * 1024 * 1024), {}, "event-1")
        await eventually(lambda: has_letter(harness))
    [letter] = await harness.letters()
    assert (letter.original, letter.event_id) == (b"", "event-1")


async def test_a_message_ends_only_after_its_letter_is_kept(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.bus.processing._DEAD_LETTER_RETRY_S", 0.05)
    refuse_each(harness, Invalid("no"))
    publish = harness.bus.publish
    failures = iter([Unavailable(), Unavailable()])

    async def failing(subject: str, data: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        if subject.startswith("dead.") and (failure := next(failures, None)):
            raise failure
        await publish(subject, data, headers, msg_id)

    monkeypatch.setattr(harness.bus, "publish", failing)
    event = an_event()
    async with running(harness.consumer().run):
        await harness.send(event)
        await eventually(lambda: has_letter(harness))
        await eventually(harness.is_settled)
    assert len(await harness.letters()) == 1
    assert harness.calls == [event.id] * 3


async def test_an_event_that_kills_its_process_each_time_is_given_up(harness: Harness, stack: Stack) -> None:
    """No handler gets to count anything: the attempts were written down before they began."""
    command = (sys.executable, "-m", killed_service.__name__, stack.postgres_url, stack.nats_url, harness.bus.namespace)
    event = an_event()
    await harness.send(event)
    for _ in range(killed_service.MAX_DELIVER):
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == -signal.SIGKILL
    survivor = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: has_letter(harness))
        await eventually(harness.is_settled)
        assert survivor.returncode is None
    finally:
        survivor.kill()
        await survivor.wait()
    [letter] = await harness.letters()
    assert letter.error_type == "Exhausted"
    assert letter.event() == event


async def test_a_dead_letter_is_handled_once_by_each_service_that_handles_it(harness: Harness) -> None:
    @harness.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", f"{event.upload_id}: {letter.reason}")
        return [an_event("the answer")]

    event, last = an_event("a"), an_event("b")
    async with running(harness.consumer(concurrency=1).run):
        await harness.bus.session()
        for letter, copy in ((a_letter(event), 1), (a_letter(event), 2), (a_letter(last), 3)):
            await harness.bus.publish(letter.letter_subject, letter.encode(), {}, str(copy))
        await eventually(lambda: _has(harness, "b: the archive is damaged"))
    assert await harness.applied() == ["a: the archive is damaged", "b: the archive is damaged"]
    assert len(await emitted(harness.pool)) == 2


async def test_letters_of_two_consumers_about_one_event_are_both_handled(harness: Harness) -> None:
    @harness.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", letter.consumer)
        return []

    event = an_event()
    async with running(harness.consumer().run):
        await harness.bus.session()
        for letter in (a_letter(event, "extractor"), a_letter(event, "lifecycle")):
            await harness.bus.publish(letter.letter_subject, letter.encode(), {}, letter.consumer)
        await eventually(lambda: _has(harness, "extractor"))
        await eventually(lambda: _has(harness, "lifecycle"))


async def test_from_poison_to_letter_to_handler_in_one_service(harness: Harness) -> None:
    refuse_each(harness, Invalid("no such thing"))

    @harness.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", letter.reason)
        return []

    async with running(harness.consumer().run):
        await harness.send(an_event())
        await eventually(lambda: _has(harness, "no such thing"))


async def test_a_letter_that_cannot_be_handled_makes_no_other_letter(harness: Harness) -> None:
    entered = 0

    @harness.handlers.on_dead(UploadAborted)
    async def fail(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        nonlocal entered
        entered += 1
        raise ZeroDivisionError

    letter = a_letter(an_event())
    async with running(harness.consumer(max_deliver=3).run):
        await harness.bus.session()
        await harness.bus.publish(letter.letter_subject, letter.encode(), {}, "1")
        await harness.bus.publish(letter.letter_subject, b"no letter", {}, "2")
        await eventually(lambda: harness.is_settled("DEAD", "service-dead"))
    assert entered == 3
    js = (await harness.bus.session()).js
    assert (await js.stream_info(f"{harness.bus.namespace}_DEAD")).state.messages == 2  # kept, for whoever looks


async def _has(harness: Harness, row: str) -> bool:
    return row in await harness.applied()
