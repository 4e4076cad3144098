"""Events of models in any order, each as often as it likes, with moves, purges and audits in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.contracts import Event, new_id
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.test_killed import is_clean
from tests.integration.lifecycle.test_moving import found_in
from tests.integration.lifecycle.uploads import (
    dropped,
    ended,
    given_upload,
    members,
    model_deleted,
    model_erased,
    model_restored,
    registered,
)

EVENTS = range(10)  # of a history
AT = st.sampled_from(EVENTS)


@dataclass
class History:
    """What happened to three models, in its order; the second shares two files of the first."""

    uploads: list[str]
    events: list[Event]
    kept: set[str]  # the objects that are live in the end


async def given_history(lifecycle: Lifecycle) -> History:
    """A model that is erased, one that is deleted and restored, one that never came to be."""
    uploads = [await given_upload(lifecycle.blobs, files=3, parts=1) for _ in range(3)]
    erased, restored, failed = new_id(), new_id(), uploads[2]
    own, *shared = members(uploads[0], 3)
    kept = {*shared, *members(uploads[1], 1)}
    events: list[Event] = [
        registered(uploads[0], [own, *shared], model_id=erased),
        registered(uploads[1], [*members(uploads[1], 1), *shared], model_id=restored),
        *ended(failed)[:1],
        model_deleted(erased, minute=1),
        model_restored(erased, minute=2),
        model_deleted(erased, minute=3),
        model_deleted(restored, minute=4),
        model_restored(restored, minute=5),
        model_erased(erased, minute=6),
        dropped(own),
    ]
    return History(uploads, events, kept)


async def test_events_in_any_order_and_repeated_lose_nothing(tiered: Lifecycle) -> None:
    """In the end storage holds what the registry kept, each with its references, and the audit is clean."""
    loop = asyncio.get_running_loop()

    @given(order=st.permutations(EVENTS), again=st.lists(st.sampled_from(EVENTS), max_size=5), pauses=st.sets(AT))
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    def check(order: list[int], again: list[int], pauses: set[int]) -> None:
        async def run() -> None:
            history = await given_history(tiered)
            for position, number in enumerate([*order, *again]):
                await tiered.deliver(history.events[number])
                if position in pauses:
                    await tiered.move()
                    await tiered.purge()
            await tiered.purge()
            await tiered.move()
            await _compare(tiered, history)

        asyncio.run_coroutine_threadsafe(run(), loop).result()

    await asyncio.to_thread(check)
    assert is_clean(await tiered.audit())


async def _compare(tiered: Lifecycle, history: History) -> None:
    found = await found_in(tiered)
    assert not found["hot"]
    of_history = {key for key in found["cold"] if key.split("/")[2] in history.uploads}
    assert of_history == history.kept
    rows = await tiered.pool.fetch("SELECT DISTINCT holder_id FROM reference WHERE key = ANY($1)", [*history.kept])
    assert [row["holder_id"] for row in rows] == [history.events[1].model_id]  # type: ignore[attr-defined]
