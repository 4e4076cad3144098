"""What a consumer promises: each event takes effect once, whatever is raised, redelivered or restarted meanwhile."""

from __future__ import annotations

import asyncio

from libs import telemetry
from libs.contracts import Event, UploadAborted, UploadExpired
from libs.db import Tx, transaction
from libs.errors import NotFound, Unavailable
from libs.outbox import Relay, emit
from libs.tasks import end
from tests.integration.bus.conftest import Bench
from tests.support.bus import an_event, running
from tests.support.eventually import eventually
from tests.support.outbox import emitted


async def test_an_event_is_applied_answered_and_what_it_emits_is_sent_on(bench: Bench) -> None:
    bench.apply_each()
    answer = UploadExpired(at=an_event().at, upload_id="u", project_id="p", model_id="m")

    @bench.handlers.on(UploadExpired)
    async def second(event: UploadExpired, tx: Tx) -> list[Event]:
        await bench.apply(event, tx)
        return []

    async with running(bench.consumer().run, Relay(bench.pool, bench.signals, bench.bus).run):
        event = an_event()
        async with transaction(bench.pool) as tx:
            await emit(tx, [event, answer])
        await eventually(lambda: bench.has_applied(event, answer))
        await eventually(bench.is_settled)


async def test_a_message_delivered_twice_takes_effect_once(bench: Bench) -> None:
    bench.apply_each()
    event, last = an_event(), an_event()
    async with running(bench.consumer(concurrency=1).run):
        await bench.send(event)
        await bench.send(event, copy=1)
        await bench.send(last)
        await eventually(lambda: bench.has_applied(last))
    assert await bench.applied() == [event.id, last.id]


async def test_unavailable_is_waited_for_and_uses_up_no_attempts(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await bench.called(event) <= 10:
            raise Unavailable
        await bench.apply(event, tx)
        return []

    event = an_event()
    async with running(bench.consumer(max_deliver=2).run):
        await bench.send(event)
        await eventually(lambda: bench.has_applied(event))
        await eventually(bench.is_settled)
    assert len(bench.calls) == 11
    assert await bench.letters() == []


async def test_an_event_that_comes_before_what_it_refers_to_is_tried_again(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await bench.called(event) <= 5:
            raise NotFound
        await bench.apply(event, tx)
        return []

    event = an_event()
    async with running(bench.consumer(max_deliver=2).run):
        await bench.send(event)
        await eventually(lambda: bench.has_applied(event))
    assert await bench.letters() == []


async def test_a_handler_that_fails_leaves_nothing_behind_but_its_next_attempt(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.apply(event, tx)
        if await bench.called(event) == 1:
            raise ZeroDivisionError
        return [an_event("the answer")]

    event = an_event()
    async with running(bench.consumer().run):
        await bench.send(event)
        await eventually(lambda: bench.has_applied(event))
    assert await bench.applied() == [event.id]
    assert len(await emitted(bench.pool)) == 1


async def test_an_idempotent_handler_has_no_inbox_row_and_may_happen_again(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted, idempotent=True)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.apply(event, tx)
        return []

    event, last = an_event(), an_event()
    async with running(bench.consumer(concurrency=1).run):
        await bench.send(event)
        await bench.send(event, copy=1)
        await bench.send(last)
        await eventually(lambda: bench.has_applied(last))
    assert await bench.applied() == [event.id, event.id, last.id]
    assert await bench.pool.fetchval("SELECT count(*) FROM inbox") == 0


async def test_an_idempotent_handler_that_emits_is_an_error_and_changes_nothing(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted, idempotent=True)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.apply(event, tx)
        return [an_event("the answer")]

    async with running(bench.consumer(max_deliver=2).run):
        await bench.send(an_event())

        async def is_given_up() -> bool:
            return bool(await bench.letters())

        await eventually(is_given_up)
    assert await bench.applied() == []


async def test_slow_work_is_done_first_and_its_result_recorded(bench: Bench) -> None:
    async def measure(event: UploadAborted, context: dict[str, int]) -> int:
        await bench.called(event)
        return context[event.upload_id]

    @bench.handlers.on(UploadAborted, prepare=measure)
    async def handle(event: UploadAborted, tx: Tx, size_bytes: int) -> list[Event]:
        await tx.execute("INSERT INTO applied (event_id) VALUES ($1)", f"{event.upload_id}={size_bytes}")
        return []

    event, last = an_event("a"), an_event("b")
    async with running(bench.consumer({"a": 7, "b": 8}, concurrency=1).run):
        await bench.send(event)
        await bench.send(event, copy=1)  # what was applied before is not measured again
        await bench.send(last)
        await bench.wait_for_calls(2)
        await eventually(bench.is_settled)
    assert await bench.applied() == ["a=7", "b=8"]
    assert bench.calls == [event.id, last.id]


async def test_work_longer_than_ack_wait_is_not_delivered_again(bench: Bench) -> None:
    async def slow(event: UploadAborted, _: object) -> None:
        await bench.called(event)
        await asyncio.sleep(3.5)  # passes more than three times ack_wait

    @bench.handlers.on(UploadAborted, prepare=slow)
    async def handle(event: UploadAborted, tx: Tx, _: None) -> list[Event]:
        await bench.apply(event, tx)
        return []

    event = an_event()
    first, second = bench.consumer(ack_wait_s=1), bench.consumer(ack_wait_s=1)
    async with running(first.run, second.run):
        await bench.send(event)
        await eventually(lambda: bench.has_applied(event))
        await eventually(bench.is_settled)
    assert bench.calls == [event.id]


async def test_no_more_run_at_once_than_told_and_free_places_are_used(bench: Bench) -> None:
    gate = asyncio.Event()
    at_once = 0
    most = 0

    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await bench.called(event)
        await gate.wait()
        at_once -= 1
        await bench.apply(event, tx)
        return []

    events = [an_event() for _ in range(20)]
    async with running(bench.consumer(concurrency=4).run):
        for event in events:
            await bench.send(event)
        await bench.wait_for_calls(4)
        gate.set()
        await eventually(lambda: bench.has_applied(*events))
    assert most == 4


async def test_a_place_that_comes_free_is_used_while_others_are_busy(bench: Bench) -> None:
    gate = asyncio.Event()

    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.called(event)
        if event.upload_id == "slow":
            await gate.wait()
        await bench.apply(event, tx)
        return []

    quick = [an_event("quick") for _ in range(10)]
    async with running(bench.consumer(concurrency=2).run):
        await bench.send(an_event("slow"))
        for event in quick:
            await bench.send(event)
        await eventually(lambda: bench.has_applied(*quick))
        gate.set()


async def test_two_replicas_share_the_work(bench: Bench) -> None:
    bench.apply_each()
    events = [an_event() for _ in range(100)]
    async with running(bench.consumer().run, bench.consumer().run):
        for event in events:
            await bench.send(event)
        await eventually(lambda: bench.has_applied(*events))
    assert len(await bench.applied()) == 100


async def test_the_handler_works_on_behalf_of_whoever_asked(bench: Bench) -> None:
    contexts: list[telemetry.Context] = []

    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        contexts.append(telemetry.current())
        await bench.apply(event, tx)
        return [an_event("the answer")]

    trace = telemetry.child_traceparent(None)
    event = an_event()
    with telemetry.bind(request_id="req_1", traceparent=trace):
        async with transaction(bench.pool) as tx:
            await emit(tx, [event])
    async with running(bench.consumer(concurrency=1).run, Relay(bench.pool, bench.signals, bench.bus).run):
        await eventually(lambda: bench.has_applied(event))

    assert contexts[0].request_id == "req_1"
    assert contexts[0].trace_id == trace.split("-")[1]
    rows = await bench.pool.fetch("SELECT request_id, split_part(traceparent, '-', 2) AS trace_id FROM outbox")
    assert {tuple(row) for row in rows} == {("req_1", trace.split("-")[1])}


async def test_a_stop_lets_the_running_handler_finish(bench: Bench) -> None:
    gate = asyncio.Event()

    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        await bench.called(event)
        await gate.wait()
        await bench.apply(event, tx)
        return []

    event = an_event()
    async with running(bench.consumer().run):
        await bench.send(event)
        await bench.wait_for_calls(1)
        asyncio.get_running_loop().call_later(0.3, gate.set)  # after the block has told it to stop
    assert await bench.applied() == [event.id]
    await eventually(bench.is_settled)


async def test_what_does_not_finish_in_time_is_put_back_for_another_replica(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await bench.called(event) == 1:
            await asyncio.Event().wait()
        await bench.apply(event, tx)
        return []

    event = an_event()
    async with running(bench.consumer(ack_wait_s=3600, drain_s=0.1).run):
        await bench.send(event)
        await bench.wait_for_calls(1)
    async with running(bench.consumer(ack_wait_s=3600).run):
        await eventually(lambda: bench.has_applied(event))


async def test_a_consumer_that_is_cancelled_puts_back_what_it_was_at(bench: Bench) -> None:
    @bench.handlers.on(UploadAborted)
    async def handle(event: UploadAborted, tx: Tx) -> list[Event]:
        if await bench.called(event) == 1:
            await asyncio.Event().wait()
        await bench.apply(event, tx)
        return []

    event = an_event()
    killed = asyncio.create_task(bench.consumer(ack_wait_s=3600, drain_s=3600).run(asyncio.Event()))
    await bench.send(event)
    await bench.wait_for_calls(1)
    await end(killed)
    async with running(bench.consumer(ack_wait_s=3600).run):
        await eventually(lambda: bench.has_applied(event))


async def test_consumers_start_and_stop_a_hundred_times_and_lose_nothing(bench: Bench) -> None:
    bench.apply_each()
    events = [an_event() for _ in range(100)]
    for event in events:
        async with running(bench.consumer(ack_wait_s=1).run):
            await bench.send(event)
    async with running(bench.consumer(ack_wait_s=1).run):
        await eventually(lambda: bench.has_applied(*events))
    assert len(await bench.applied()) == 100
