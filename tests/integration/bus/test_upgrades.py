"""What two releases of a service promise that share one consumer: neither loses or ends what the other one handles."""

from __future__ import annotations

import base64

import msgspec
import pytest
from nats.js.api import ConsumerConfig

from libs import telemetry
from libs.bus import Consumer, Handlers, receiver, retries
from libs.contracts import Event, UploadAborted, UploadExpired, encode_event
from libs.db import Tx
from tests.integration.bus.harness import SERVICE, Harness
from tests.support.bus import NOON, an_event, running
from tests.support.eventually import eventually

AN_UNKNOWN_VALUE = (
    b'{"type":"upload.aborted.v1","id":"e","at":"2030-01-01T12:00:00Z","upload_id":7,"project_id":"p","model_id":"m"}'
)


def an_expiry(number: int) -> UploadExpired:
    return UploadExpired(at=NOON, upload_id=f"u{number}", project_id="p", model_id="m")


def consumer_of(harness: Harness, *event_types: type[Event]) -> Consumer:
    """A replica of a release whose table has these events."""
    table = Handlers(SERVICE)

    @table.on(*event_types)
    async def handle(event: Event, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return []

    return Consumer(harness.bus, harness.pool, table)


def older(harness: Harness) -> Consumer:
    return consumer_of(harness, UploadAborted)


def newer(harness: Harness) -> Consumer:
    return consumer_of(harness, UploadAborted, UploadExpired)


async def bound(harness: Harness, consumer: Consumer) -> None:
    """Run it until it has bound to the stream, then end it."""
    async with running(consumer.run):
        event = an_event()
        await harness.send(event)
        await eventually(lambda: harness.has_applied(event))


async def filter_of(harness: Harness) -> set[str]:
    js = (await harness.bus.session()).js
    namespace = harness.bus.namespace
    config = (await js.consumer_info(f"{namespace}_EVENTS", f"{namespace}_{SERVICE}")).config
    return {subject.removeprefix(f"{namespace}.") for subject in config.filter_subjects or ()}


def left_for_others() -> float:
    return float(telemetry.retries.labels("upload.expired.v1", "NotKnownYet")._value.get())


async def test_events_that_one_of_two_releases_knows_are_all_handled_by_that_one(harness: Harness) -> None:
    await bound(harness, newer(harness))
    before = left_for_others()
    events = [an_expiry(number) for number in range(40)]
    async with running(older(harness).run, newer(harness).run):
        for event in events:
            await harness.send(event)
        await eventually(lambda: harness.has_applied(*events))
        await eventually(harness.is_settled)
    assert left_for_others() > before  # the older one was given some of them
    assert await harness.letters() == []


async def test_an_older_release_that_binds_later_does_not_narrow_the_filter(harness: Harness) -> None:
    await bound(harness, newer(harness))
    await bound(harness, older(harness))
    events = [an_expiry(number) for number in range(10)]
    for event in events:
        await harness.send(event)
    await bound(harness, older(harness))
    async with running(newer(harness).run):
        await eventually(lambda: harness.has_applied(*events))
    assert await filter_of(harness) == {"upload.aborted.v1", "upload.expired.v1"}
    assert await harness.letters() == []


async def test_what_waits_for_a_newer_release_uses_up_no_attempts_and_survives_the_older_ones(harness: Harness) -> None:
    await bound(harness, newer(harness))
    event, before = an_expiry(1), left_for_others()
    async with running(older(harness).run):
        await harness.send(event)
        await eventually(lambda: _is(left_for_others() > before + 3))
    assert not await harness.pool.fetchval("SELECT count(*) FROM attempt")
    async with running(newer(harness).run):
        await eventually(lambda: harness.has_applied(event))


async def test_a_filter_that_another_release_has_narrowed_is_widened_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "_FIRST_CHECK_S", 0.05)
    monkeypatch.setattr(receiver, "_CHECK_EVERY_S", 0.05)
    await bound(harness, newer(harness))
    js = (await harness.bus.session()).js
    namespace = harness.bus.namespace
    narrow = ConsumerConfig(
        durable_name=f"{namespace}_{SERVICE}", filter_subjects=[f"{namespace}.upload.aborted.v1"], max_deliver=-1
    )
    async with running(newer(harness).run):
        await js.add_consumer(f"{namespace}_EVENTS", narrow)  # as release 0.1 does when it binds

        async def is_wide() -> bool:
            return await filter_of(harness) == {"upload.aborted.v1", "upload.expired.v1"}

        await eventually(is_wide)


async def test_a_consumer_that_takes_whole_families_is_not_given_overlapping_subjects(harness: Harness) -> None:
    """NATS refuses a filter whose subjects overlap: a release that binds by family stays bound."""
    await bound(harness, older(harness))
    js = (await harness.bus.session()).js
    namespace = harness.bus.namespace
    config = (await js.consumer_info(f"{namespace}_EVENTS", f"{namespace}_{SERVICE}")).config
    await js.add_consumer(f"{namespace}_EVENTS", config.evolve(filter_subjects=[f"{namespace}.upload.>"]))
    await bound(harness, newer(harness))
    assert await filter_of(harness) == {"upload.>"}


async def test_json_of_another_shape_waits_for_days_and_is_then_given_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back = telemetry.retries.labels("upload.aborted.v1", "NotKnownYet")
    before = put_back._value.get()
    async with running(older(harness).run):
        await harness.bus.session()
        await harness.bus.publish("upload.aborted.v1", AN_UNKNOWN_VALUE, {}, "event-1")
        await eventually(lambda: _is(put_back._value.get() > before + 3))
        assert await harness.letters() == []
        monkeypatch.setattr(retries, "NEWER_PATIENCE_S", 0.0)
        await eventually(harness.is_settled)
    [letter] = await harness.letters()
    assert (letter.original, letter.event_id, letter.error_type) == (AN_UNKNOWN_VALUE, "event-1", "NotKnownYet")


async def test_letters_that_only_a_newer_release_handles_wait_for_it_too(harness: Harness) -> None:
    async def note(letter: object, event: Event, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return []

    old, new = Handlers(SERVICE), Handlers(SERVICE)
    old.on_dead(UploadAborted)(note)
    new.on_dead(UploadAborted, UploadExpired)(note)
    event, known = an_expiry(1), an_event()
    put_back = telemetry.retries.labels("dead.other.upload.expired.v1", "NotKnownYet")
    before = put_back._value.get()
    async with running(Consumer(harness.bus, harness.pool, new).run):
        await _send_letter(harness, known)
        await eventually(lambda: harness.has_applied(known))
    async with running(Consumer(harness.bus, harness.pool, old).run):
        await _send_letter(harness, event)
        await eventually(lambda: _is(put_back._value.get() > before))
    async with running(Consumer(harness.bus, harness.pool, new).run):
        await eventually(lambda: harness.has_applied(event))


async def test_what_a_release_no_longer_handles_is_acknowledged_without_effect(harness: Harness) -> None:
    await bound(harness, newer(harness))
    table = Handlers(SERVICE)
    table.retire(UploadExpired)
    async with running(Consumer(harness.bus, harness.pool, table).run):
        await harness.send(an_expiry(1))
        await eventually(harness.is_settled)
    assert await harness.letters() == []


async def _send_letter(harness: Harness, event: UploadAborted | UploadExpired) -> None:
    tag = str(event.__struct_config__.tag)
    letter = {
        "consumer": "other",
        "subject": tag,
        "event_type": tag,
        "event_id": event.id,
        "reason": "r",
        "error_type": "Invalid",
        "delivered": 1,
        "at": "2030-01-01T12:00:00Z",
        "original": base64.b64encode(encode_event(event)).decode(),
    }
    await harness.bus.session()
    await harness.bus.publish(f"dead.other.{tag}", msgspec.json.encode(letter), {}, f"letter {event.id}")


async def _is(condition: bool) -> bool:
    return condition


async def test_events_sent_before_the_newer_release_has_bound_reach_it(harness: Harness) -> None:
    """The service that emits a new type may be rolled out before the one that handles it."""
    await bound(harness, older(harness))
    events = [an_expiry(number) for number in range(10)]
    for event in events:
        await harness.send(event)
    await bound(harness, older(harness))  # others go past them
    async with running(newer(harness).run):
        await eventually(lambda: harness.has_applied(*events))
    assert await harness.letters() == []
