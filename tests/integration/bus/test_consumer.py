"""What a consumer promises: each event takes effect once, whatever is raised, redelivered or restarted meanwhile."""

from __future__ import annotations

import asyncio

from libs import telemetry
from libs.contracts import Event, UploadAborted, UploadExpired
from libs.db import Tx, transaction
from libs.errors import NotFound, Unavailable
from libs.outbox import Relay, emit
from libs.tasks import end
from tests.integration.bus.harness import Harness
from tests.support.bus import an_event, running
from tests.support.eventually import eventually
from tests.support.outbox import emitted


async def test_an_event_is_applied_answered_and_what_it_emits_is_sent_on(harness: Harness) -> None:
    harness.apply_each()
    answer = UploadExpired(at=an_event().at, upload_id="u", project_id="p", model_id="m")

    @harness.handlers.on(UploadExpired)
    async def second(event: UploadExpired, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return []

    async with running(harness.consumer().run, Relay(harness.pool, harness.signals, harness.bus).run):
        event = an_event()
        async with transaction(harness.pool) as tx:
            await emit(tx, [event, answer])
        await eventually(lambda: harness.has_applied(event, answer))
        await eventually(harness.is_settled)


async def test_a_message_delivered_twice_takes_effect_once(harness: Harness) -> None:
    harness.apply_each()
    event, last = an_event(), an_event()
    async with running(harness.consumer(concurrency=1).run):
        await harness.send(event)
        await harness.send(event, copy=1)
        await harness.send(last)
        await eventually(lambda: harness.has_applied(last))
    assert await harness.applied() == [event.id, last.id]


async def test_unavailable_is_waited_for_and_uses_up_no_attempts(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await harness.called(event) <= 10:
            raise Unavailable
        await harness.apply(event, tx)
        return []

    event = an_event()
    async with running(harness.consumer(max_deliver=2).run):
        await harness.send(event)
        await eventually(lambda: harness.has_applied(event))
        await eventually(harness.is_settled)
    assert len(harness.calls) == 11
    assert await harness.letters() == []


async def test_an_event_that_comes_before_what_it_refers_to_is_tried_again(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await harness.called(event) <= 5:
            raise NotFound
        await harness.apply(event, tx)
        return []

    event = an_event()
    async with running(harness.consumer(max_deliver=2).run):
        await harness.send(event)
        await eventually(lambda: harness.has_applied(event))
    assert await harness.letters() == []


async def test_a_handler_that_fails_leaves_nothing_behind_but_its_next_attempt(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        if await harness.called(event) == 1:
            raise ZeroDivisionError
        return [an_event("the answer")]

    event = an_event()
    async with running(harness.consumer().run):
        await harness.send(event)
        await eventually(lambda: harness.has_applied(event))
    assert await harness.applied() == [event.id]
    assert len(await emitted(harness.pool)) == 1


async def test_an_idempotent_handler_has_no_inbox_row_and_may_happen_again(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted, idempotent=True)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return []

    event, last = an_event(), an_event()
    async with running(harness.consumer(concurrency=1).run):
        await harness.send(event)
        await harness.send(event, copy=1)
        await harness.send(last)
        await eventually(lambda: harness.has_applied(last))
    assert await harness.applied() == [event.id, event.id, last.id]
    assert await harness.pool.fetchval("SELECT count(*) FROM inbox") == 0


async def test_an_idempotent_handler_that_emits_is_an_error_and_changes_nothing(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted, idempotent=True)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.apply(event, tx)
        return [an_event("the answer")]

    async with running(harness.consumer(max_deliver=2).run):
        await harness.send(an_event())

        async def is_given_up() -> bool:
            return bool(await harness.letters())

        await eventually(is_given_up)
    assert await harness.applied() == []


async def test_slow_work_is_done_first_and_its_result_recorded(harness: Harness) -> None:
    async def measure(event: UploadAborted, context: dict[str, int]) -> int:
        await harness.called(event)
        return context[event.upload_id]

    @harness.handlers.on(UploadAborted, prepare=measure)
    async def handle(event: UploadAborted, tx: Tx, size_bytes: int) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", f"{event.upload_id}={size_bytes}")
        return []

    event, last = an_event("a"), an_event("b")
    async with running(harness.consumer({"a": 7, "b": 8}, concurrency=1).run):
        await harness.send(event)
        await harness.send(event, copy=1)  # what was applied before is not measured again
        await harness.send(last)
        await harness.wait_for_calls(2)
        await eventually(harness.is_settled)
    assert await harness.applied() == ["a=7", "b=8"]
    assert harness.calls == [event.id, last.id]


async def test_work_longer_than_ack_wait_is_not_delivered_again(harness: Harness) -> None:
    async def slow(event: UploadAborted, _: object) -> None:
        await harness.called(event)
        await asyncio.sleep(3.5)  # passes more than three times ack_wait

    @harness.handlers.on(UploadAborted, prepare=slow)
    async def handle(event: UploadAborted, tx: Tx, _: None) -> list[Event]:
        await harness.apply(event, tx)
        return []

    event = an_event()
    first, second = harness.consumer(ack_wait_s=1), harness.consumer(ack_wait_s=1)
    async with running(first.run, second.run):
        await harness.send(event)
        await eventually(lambda: harness.has_applied(event))
        await eventually(harness.is_settled)
    assert harness.calls == [event.id]


async def test_at_most_concurrency_run_at_once_and_free_places_are_used(harness: Harness) -> None:
    gate = asyncio.Event()
    at_once = 0
    most = 0

    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await harness.called(event)
        await gate.wait()
        at_once -= 1
        await harness.apply(event, tx)
        return []

    events = [an_event() for _ in range(20)]
    async with running(harness.consumer(concurrency=4).run):
        for event in events:
            await harness.send(event)
        await harness.wait_for_calls(4)
        gate.set()
        await eventually(lambda: harness.has_applied(*events))
    assert most == 4


async def test_a_place_that_comes_free_is_used_while_others_are_busy(harness: Harness) -> None:
    gate = asyncio.Event()

    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.called(event)
        if event.upload_id == "slow":
            await gate.wait()
        await harness.apply(event, tx)
        return []

    quick = [an_event("quick") for _ in range(10)]
    async with running(harness.consumer(concurrency=2).run):
        await harness.send(an_event("slow"))
        for event in quick:
            await harness.send(event)
        await eventually(lambda: harness.has_applied(*quick))
        gate.set()


async def test_two_replicas_share_the_work(harness: Harness) -> None:
    harness.apply_each()
    events = [an_event() for _ in range(100)]
    async with running(harness.consumer().run, harness.consumer().run):
        for event in events:
            await harness.send(event)
        await eventually(lambda: harness.has_applied(*events))
    assert len(await harness.applied()) == 100


async def test_the_handler_has_the_request_id_and_trace_of_the_event(harness: Harness) -> None:
    contexts: list[telemetry.Context] = []

    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        contexts.append(telemetry.current())
        await harness.apply(event, tx)
        return [an_event("the answer")]

    trace = telemetry.child_traceparent(None)
    event = an_event()
    with telemetry.bind(request_id="req_1", traceparent=trace):
        async with transaction(harness.pool) as tx:
            await emit(tx, [event])
    async with running(harness.consumer(concurrency=1).run, Relay(harness.pool, harness.signals, harness.bus).run):
        await eventually(lambda: harness.has_applied(event))

    assert contexts[0].request_id == "req_1"
    assert contexts[0].trace_id == trace.split("-")[1]
    rows = await harness.pool.fetch("SELECT request_id, split_part(traceparent, '-', 2) AS trace_id FROM outbox")
    assert {tuple(row) for row in rows} == {("req_1", trace.split("-")[1])}


async def test_a_stop_lets_the_running_handler_finish(harness: Harness) -> None:
    gate = asyncio.Event()

    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await harness.called(event)
        await gate.wait()
        await harness.apply(event, tx)
        return []

    event = an_event()
    async with running(harness.consumer().run):
        await harness.send(event)
        await harness.wait_for_calls(1)
        asyncio.get_running_loop().call_later(0.3, gate.set)  # after the block has told it to stop
    assert await harness.applied() == [event.id]
    await eventually(harness.is_settled)


async def test_what_does_not_finish_in_time_is_put_back_for_another_replica(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await harness.called(event) == 1:
            await asyncio.Event().wait()
        await harness.apply(event, tx)
        return []

    event = an_event()
    async with running(harness.consumer(ack_wait_s=3600, drain_s=0.1).run):
        await harness.send(event)
        await harness.wait_for_calls(1)
    async with running(harness.consumer(ack_wait_s=3600).run):
        await eventually(lambda: harness.has_applied(event))


async def test_a_consumer_that_is_cancelled_puts_back_what_it_was_at(harness: Harness) -> None:
    @harness.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await harness.called(event) == 1:
            await asyncio.Event().wait()
        await harness.apply(event, tx)
        return []

    event = an_event()
    killed = asyncio.create_task(harness.consumer(ack_wait_s=3600, drain_s=3600).run(asyncio.Event()))
    await harness.send(event)
    await harness.wait_for_calls(1)
    await end(killed)
    async with running(harness.consumer(ack_wait_s=3600).run):
        await eventually(lambda: harness.has_applied(event))


async def test_consumers_start_and_stop_a_hundred_times_and_lose_nothing(harness: Harness) -> None:
    harness.apply_each()
    events = [an_event() for _ in range(100)]
    for event in events:
        async with running(harness.consumer(ack_wait_s=1).run):
            await harness.send(event)
    async with running(harness.consumer(ack_wait_s=1).run):
        await eventually(lambda: harness.has_applied(*events))
    assert len(await harness.applied()) == 100
