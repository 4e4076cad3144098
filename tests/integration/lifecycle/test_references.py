"""Who refers to an object, until when, and when it goes: in whatever order the events come."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from libs.contracts import Event
from libs.db import connection
from services.lifecycle.store import holders
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import (
    NOON,
    dropped,
    given_upload,
    keys_in,
    members,
    model_deleted,
    model_erased,
    model_restored,
    registered,
    state_of,
)

GRACE = timedelta(days=7)


async def expiry(lifecycle: Lifecycle, key: str) -> object:
    async with connection(lifecycle.pool) as tx:
        return await holders.expires_at(tx, key)


async def references(lifecycle: Lifecycle) -> set[tuple[str, str]]:
    return {tuple(row) for row in await lifecycle.pool.fetch("SELECT key, holder_id FROM reference")}


async def test_an_object_expires_with_the_last_model_that_has_it(lifecycle: Lifecycle) -> None:
    """Only when every model that has it is deleted; then with the one that is erased last."""
    [own, shared] = members("up", 2)
    await lifecycle.deliver(registered("up", [own, shared], model_id="m1"), registered("up2", [shared], model_id="m2"))
    assert [await expiry(lifecycle, own), await expiry(lifecycle, shared)] == [None, None]
    first, second = model_deleted("m1", minute=1), model_deleted("m2", minute=5)
    await lifecycle.deliver(first)
    assert [await expiry(lifecycle, own), await expiry(lifecycle, shared)] == [first.erase_at, None]
    await lifecycle.deliver(second)
    assert await expiry(lifecycle, shared) == second.erase_at == NOON + timedelta(minutes=5) + GRACE
    await lifecycle.deliver(model_restored("m1", minute=6))
    assert [await expiry(lifecycle, own), await expiry(lifecycle, shared)] == [None, None]
    assert await state_of(lifecycle.pool, own) == "live"


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_of_deletions_and_restorations_the_latest_holds(lifecycle: Lifecycle, order: tuple[int, ...]) -> None:
    """In whatever order they arrive, also before the registration, which may be told again."""
    [key] = members("up", 1)
    told = [model_deleted("m", minute=1), model_restored("m", minute=2), model_deleted("m", minute=3)]
    await lifecycle.deliver(*(told[number] for number in order), registered("up", [key], model_id="m"))
    assert await expiry(lifecycle, key) == told[2].at + GRACE
    await lifecycle.deliver(registered("up", [key], model_id="m"), model_restored("m", minute=4))
    assert await expiry(lifecycle, key) is None


ERASED: list[Event] = [
    registered("up", members("up", 2), model_id="m"),
    model_deleted("m", minute=1),
    model_erased("m", minute=2),
]


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_an_erased_model_has_no_references(lifecycle: Lifecycle, order: tuple[int, ...]) -> None:
    """Whatever arrives after that; its objects stay until the registry says that nothing has them."""
    await lifecycle.deliver(*(ERASED[number] for number in order))
    assert await references(lifecycle) == set()
    assert await state_of(lifecycle.pool, members("up", 1)[0]) == "live"


async def test_erasing_a_model_leaves_what_another_one_has(lifecycle: Lifecycle) -> None:
    """What nothing has comes as dropped, and goes; the shared object keeps its other reference."""
    upload_id = await given_upload(lifecycle.blobs, files=2)
    [own, shared] = members(upload_id, 2)
    await lifecycle.deliver(registered(upload_id, [own, shared], model_id="m1"))
    await lifecycle.deliver(registered("up2", [shared], model_id="m2"))
    await lifecycle.deliver(model_deleted("m1"), dropped(own), model_erased("m1"))
    await lifecycle.purge()
    assert await references(lifecycle) == {(shared, "m2")}
    assert await keys_in(lifecycle.blobs) == {shared}


async def test_erased_models_are_forgotten_when_no_event_can_name_them(lifecycle: Lifecycle) -> None:
    """After a month; those that can still be restored are not."""
    await lifecycle.deliver(registered("up", members("up", 1), model_id="kept"), model_erased("m1"))
    await lifecycle.deliver(model_deleted("m2"), model_erased("m3"))
    await lifecycle.pool.execute("UPDATE holder SET changed_at = now() WHERE id = 'm3'")
    await lifecycle.audit()
    rows = await lifecycle.pool.fetch("SELECT id FROM holder ORDER BY id")
    assert [row["id"] for row in rows] == ["kept", "m2", "m3"]
