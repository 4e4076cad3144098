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
from tests.integration.bus import deadly
from tests.integration.bus.conftest import Bench
from tests.support.bus import NOON, an_event, running
from tests.support.eventually import eventually
from tests.support.outbox import emitted
from tests.support.stack import Stack

TAG = "upload.aborted.v1"


def refuse_each(bench: Bench, error: Exception) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.apply(event, tx)
        await bench.called(event)
        raise error


async def has_letter(bench: Bench) -> bool:
    return bool(await bench.letters())


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


async def test_an_invalid_event_is_given_up_at_once_with_reason_and_original(bench: Bench) -> None:
    refuse_each(bench, Invalid("there is no stream 7"))
    event = an_event()
    async with running(bench.consumer().run):
        await bench.bus.session()
        await bench.bus.publish(TAG, encode_event(event), {"Slipway-Request-Id": "req_1"}, event.id)
        await eventually(lambda: has_letter(bench))
        await eventually(bench.is_settled)

    [letter] = await bench.letters()
    assert letter.event() == event
    assert letter.event_id == event.id
    assert letter.reason == "there is no stream 7"
    assert letter.error_type == "Invalid"
    assert (letter.consumer, letter.subject, letter.delivered) == ("service", TAG, 1)
    assert letter.request_id == "req_1"
    assert bench.calls == [event.id]
    assert await bench.applied() == []


async def test_an_error_that_nobody_named_is_given_up_after_max_deliver(bench: Bench) -> None:
    refuse_each(bench, ZeroDivisionError("by zero"))
    event = an_event()
    async with running(bench.consumer(max_deliver=4).run):
        await bench.send(event)
        await eventually(lambda: has_letter(bench))
        await eventually(bench.is_settled)
    [letter] = await bench.letters()
    assert letter.reason == "ZeroDivisionError: by zero (tried 4 times)"
    assert bench.calls == [event.id] * 4
    assert await bench.applied() == []


async def test_one_that_fails_does_not_hold_up_the_others(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if event.upload_id == "poison":
            raise ZeroDivisionError
        await bench.apply(event, tx)
        return []

    good = [an_event() for _ in range(20)]
    async with running(bench.consumer(concurrency=1).run):
        await bench.send(an_event("poison"))
        for event in good:
            await bench.send(event)
        await eventually(lambda: bench.has_applied(*good))
        await eventually(lambda: has_letter(bench))


WITHOUT_A_ZONE = encode_event(an_event()).replace(b"Z", b"")


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b'{"type":', WITHOUT_A_ZONE])
async def test_bytes_that_are_no_event_are_given_up_as_they_came(bench: Bench, raw: bytes) -> None:
    refuse_each(bench, AssertionError())
    async with running(bench.consumer().run):
        await bench.bus.session()
        await bench.bus.publish(TAG, raw, {}, "event-1")
        await eventually(lambda: has_letter(bench))
        await eventually(bench.is_settled)
    [letter] = await bench.letters()
    assert (letter.original, letter.event_id, letter.event_type) == (raw, "event-1", TAG)
    assert letter.reason.startswith(f"The bytes are no {TAG}")
    assert bench.calls == []


async def test_a_message_too_large_for_a_letter_is_given_up_without_its_original(bench: Bench) -> None:
    refuse_each(bench, AssertionError())
    async with running(bench.consumer().run):
        await bench.bus.session()
        await bench.bus.publish(TAG, bytes(7 * 1024 * 1024), {}, "event-1")
        await eventually(lambda: has_letter(bench))
    [letter] = await bench.letters()
    assert (letter.original, letter.event_id) == (b"", "event-1")


async def test_a_message_ends_only_after_its_letter_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.bus.processing._DEAD_LETTER_RETRY_S", 0.05)
    refuse_each(bench, Invalid("no"))
    publish = bench.bus.publish
    failures = iter([Unavailable(), Unavailable()])

    async def failing(subject: str, data: bytes, headers: Mapping[str, str], msg_id: str) -> None:
        if subject.startswith("dead.") and (failure := next(failures, None)):
            raise failure
        await publish(subject, data, headers, msg_id)

    monkeypatch.setattr(bench.bus, "publish", failing)
    event = an_event()
    async with running(bench.consumer().run):
        await bench.send(event)
        await eventually(lambda: has_letter(bench))
        await eventually(bench.is_settled)
    assert len(await bench.letters()) == 1
    assert bench.calls == [event.id] * 3


async def test_an_event_that_kills_its_process_each_time_is_given_up(bench: Bench, stack: Stack) -> None:
    """No handler gets to count anything: the attempts were written down before they began."""
    command = (sys.executable, "-m", deadly.__name__, stack.postgres_url, stack.nats_url, bench.bus.namespace)
    event = an_event()
    await bench.send(event)
    for _ in range(deadly.MAX_DELIVER):
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == -signal.SIGKILL
    survivor = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: has_letter(bench))
        await eventually(bench.is_settled)
        assert survivor.returncode is None
    finally:
        survivor.kill()
        await survivor.wait()
    [letter] = await bench.letters()
    assert letter.error_type == "Exhausted"
    assert letter.event() == event


async def test_a_dead_letter_is_handled_once_by_whoever_asked(bench: Bench) -> None:
    @bench.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", f"{event.upload_id}: {letter.reason}")
        return [an_event("the answer")]

    event, last = an_event("a"), an_event("b")
    async with running(bench.consumer(concurrency=1).run):
        await bench.bus.session()
        for letter, copy in ((a_letter(event), 1), (a_letter(event), 2), (a_letter(last), 3)):
            await bench.bus.publish(letter.letter_subject, letter.encode(), {}, str(copy))
        await eventually(lambda: _has(bench, "b: the archive is damaged"))
    assert await bench.applied() == ["a: the archive is damaged", "b: the archive is damaged"]
    assert len(await emitted(bench.pool)) == 2


async def test_letters_of_two_consumers_about_one_event_are_both_handled(bench: Bench) -> None:
    @bench.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", letter.consumer)
        return []

    event = an_event()
    async with running(bench.consumer().run):
        await bench.bus.session()
        for letter in (a_letter(event, "extractor"), a_letter(event, "lifecycle")):
            await bench.bus.publish(letter.letter_subject, letter.encode(), {}, letter.consumer)
        await eventually(lambda: _has(bench, "extractor"))
        await eventually(lambda: _has(bench, "lifecycle"))


async def test_from_poison_to_letter_to_handler_in_one_service(bench: Bench) -> None:
    refuse_each(bench, Invalid("no such thing"))

    @bench.handlers.on_dead(UploadAborted)
    async def note(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", letter.reason)
        return []

    async with running(bench.consumer().run):
        await bench.send(an_event())
        await eventually(lambda: _has(bench, "no such thing"))


async def test_a_letter_that_cannot_be_handled_makes_no_other_letter(bench: Bench) -> None:
    entered = 0

    @bench.handlers.on_dead(UploadAborted)
    async def fail(letter: DeadLetter, event: UploadAborted, tx: Tx) -> list[Event]:
        nonlocal entered
        entered += 1
        raise ZeroDivisionError

    letter = a_letter(an_event())
    async with running(bench.consumer(max_deliver=3).run):
        await bench.bus.session()
        await bench.bus.publish(letter.letter_subject, letter.encode(), {}, "1")
        await bench.bus.publish(letter.letter_subject, b"no letter", {}, "2")
        await eventually(lambda: bench.is_settled("DEAD", "service-dead"))
    assert entered == 3
    js = (await bench.bus.session()).js
    assert (await js.stream_info(f"{bench.bus.namespace}_DEAD")).state.messages == 2  # kept, for whoever looks


async def _has(bench: Bench, row: str) -> bool:
    return row in await bench.applied()
