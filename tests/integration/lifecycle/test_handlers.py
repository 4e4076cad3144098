"""Events become rows, once each, in whatever order they come."""

from __future__ import annotations

import pytest

from libs.contracts import Event, ObjectDeleted
from libs.errors import Invalid
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import (
    NOON,
    PROJECT,
    dropped,
    ended,
    given_upload,
    keys_in,
    members,
    model_deleted,
    model_erased,
    model_restored,
    registered,
    state_of,
)
from tests.support import emitted


async def rows(lifecycle: Lifecycle) -> dict[str, list[tuple[object, ...]]]:
    """Everything lifecycle knows, for comparison."""
    queries = {
        "object": "SELECT key, state, size_bytes, sha256, reason, changed_at FROM object ORDER BY key",
        "reference": "SELECT key, holder_kind, holder_id FROM reference ORDER BY 1, 2, 3",
        "holder": "SELECT id, kind, until, erased, changed_at FROM holder ORDER BY id",
        "purge": "SELECT prefix, keys, pass, due_at FROM purge ORDER BY id",
        "project": "SELECT id FROM project",
    }
    return {table: [tuple(row) for row in await lifecycle.pool.fetch(query)] for table, query in queries.items()}


@pytest.mark.parametrize(
    "event",
    [
        registered("up", members("up"), model_id="m"),
        dropped(*members("up")),
        *ended("up"),
        model_deleted("m"),
        model_restored("m"),
        model_erased("m"),
    ],
    ids=lambda event: type(event).__name__,
)
async def test_redelivery_changes_nothing(lifecycle: Lifecycle, event: Event) -> None:
    """JetStream delivers at least once; the second delivery changes and emits nothing."""
    await lifecycle.deliver(event)
    once = await rows(lifecycle)
    assert any(once.values())
    await lifecycle.deliver(event)
    assert await rows(lifecycle) == once
    assert await emitted(lifecycle.pool) == []


async def test_registration_records_objects_and_who_refers_to_them(lifecycle: Lifecycle) -> None:
    """Two models of the same content share an object and hold a reference each."""
    [first, second] = members("up", 2)
    await lifecycle.deliver(registered("up", [first, second], model_id="m1"), registered("up2", [first], model_id="m2"))
    references = await lifecycle.pool.fetch("SELECT key, holder_id FROM reference ORDER BY 1, 2")
    assert [tuple(row) for row in references] == [(first, "m1"), (first, "m2"), (second, "m1")]
    assert await lifecycle.pool.fetchval("SELECT size_bytes FROM object WHERE key = $1", first) == 1


async def test_one_model_may_have_the_same_content_twice(lifecycle: Lifecycle) -> None:
    """Two files of a model share an object, which is recorded once."""
    [key] = members("up", 1)
    await lifecycle.deliver(registered("up", [key, key]))
    assert await state_of(lifecycle.pool, key) == "live"


async def test_dropping_ends_every_reference(lifecycle: Lifecycle) -> None:
    """The registry says that nothing refers to it: that is the truth, whatever was recorded."""
    [key] = members("up", 1)
    await lifecycle.deliver(registered("up", [key]), registered("up2", [key]), dropped(key))
    assert await state_of(lifecycle.pool, key) == "dropped"
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM reference") == 0


async def test_dropped_before_registered_stays_dropped(lifecycle: Lifecycle) -> None:
    """No order is promised: the model was registered and deleted, and the second event came first."""
    upload_id = await given_upload(lifecycle.blobs, files=2)
    [kept, gone] = members(upload_id, 2)
    await lifecycle.deliver(dropped(gone), registered(upload_id, [kept, gone]))
    assert (await state_of(lifecycle.pool, kept), await state_of(lifecycle.pool, gone)) == ("live", "dropped")
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == {kept}


async def test_registration_replayed_after_deletion_revives_nothing(lifecycle: Lifecycle) -> None:
    """A replay of the outbox tells old stories; what is gone is not taken for live."""
    upload_id = await given_upload(lifecycle.blobs, files=1)
    [key] = members(upload_id, 1)
    await lifecycle.deliver(registered(upload_id, [key], model_id="m"), dropped(key))
    await lifecycle.purge()
    await lifecycle.deliver(registered(upload_id, [key], model_id="m"))
    assert await state_of(lifecycle.pool, key) == "deleted"
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM reference") == 0


async def test_an_upload_that_failed_late_keeps_what_is_registered(lifecycle: Lifecycle) -> None:
    """Whatever ends an upload, what the registry has stays."""
    upload_id = await given_upload(lifecycle.blobs, files=3)
    await lifecycle.deliver(registered(upload_id, members(upload_id, 2)), *ended(upload_id))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(members(upload_id, 2))


async def test_a_key_of_another_project_is_refused_whole(lifecycle: Lifecycle) -> None:
    """An event deletes nothing beyond its own project."""
    [key] = members("up", 1)
    await lifecycle.deliver(registered("up", [key]))
    with pytest.raises(Invalid, match="does not belong to project"):
        await lifecycle.deliver(dropped(key, "proj_b/objects/up/m0-0"))
    assert await state_of(lifecycle.pool, key) == "live"


async def test_a_deletion_is_emitted_once(lifecycle: Lifecycle) -> None:
    """Each key once, although every purge passes three times."""
    upload_id = await given_upload(lifecycle.blobs, files=2, parts=1)
    [kept, gone] = members(upload_id, 2)
    await lifecycle.deliver(registered(upload_id, [kept]), dropped(gone))
    await lifecycle.purge()
    told = [event for event in await emitted(lifecycle.pool) if isinstance(event, ObjectDeleted)]
    assert sorted(key for event in told for key in event.keys) == [gone, f"{PROJECT}/uploads/{upload_id}/0/0-attempt"]
    assert all(event.at > NOON for event in told)
