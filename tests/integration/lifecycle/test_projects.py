"""A deleted project leaves nothing in storage, and nothing of another one goes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from libs.contracts import ModelRegistered, ProjectDeleted, ProjectPurged, new_id
from libs.contracts.keys import member_key
from libs.db import transaction
from services.lifecycle import purge_worker
from services.lifecycle.store import objects
from services.lifecycle.store.purges import Purge
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import (
    NOON,
    PROJECT,
    given_upload,
    keys_in,
    members,
    registered,
    state_of,
    stored,
)
from tests.support import emitted
from tests.support.plans import recorded, sequential_scans

OTHER = "proj_AAAAAAAAAB"
DELETED = ProjectDeleted(project_id=PROJECT, at=NOON)


async def given_other(lifecycle: Lifecycle) -> str:
    """A model of another project, whose id begins the same; the key of its only object."""
    key = member_key(OTHER, "u1", 0, 1, 0)
    await lifecycle.blobs.put_bytes(key, b"x")
    upload = ModelRegistered(model_id="m", upload_id="u1", project_id=OTHER, files=[stored(key)], at=NOON)
    await lifecycle.deliver(upload)
    return key


async def purged(lifecycle: Lifecycle) -> list[str]:
    return [event.project_id for event in await emitted(lifecycle.pool) if isinstance(event, ProjectPurged)]


async def test_everything_below_its_prefix_goes_also_what_was_live(lifecycle: Lifecycle) -> None:
    other = await given_other(lifecycle)
    upload_id = await given_upload(lifecycle.blobs, files=5)
    await lifecycle.deliver(registered(upload_id, members(upload_id, 5)))
    await lifecycle.blobs.put_bytes(f"{PROJECT}/objects/nobody/f0-0", b"x")  # of which no event told
    await lifecycle.deliver(DELETED, DELETED)
    await lifecycle.purge()

    assert await keys_in(lifecycle.blobs) == {other}
    assert await state_of(lifecycle.pool, other) == "live"
    assert {await state_of(lifecycle.pool, key) for key in members(upload_id, 5)} == {"deleted"}
    references = await lifecycle.pool.fetch("SELECT key FROM reference")
    assert [row["key"] for row in references] == [other]
    assert await purged(lifecycle) == [PROJECT]
    assert (await lifecycle.audit()).unclaimed == 0


async def test_a_registration_that_comes_later_makes_nothing_live(lifecycle: Lifecycle) -> None:
    upload_id = await given_upload(lifecycle.blobs)
    await lifecycle.deliver(DELETED)
    await lifecycle.deliver(registered(upload_id, members(upload_id)))
    await lifecycle.purge()

    assert await keys_in(lifecycle.blobs) == set()
    assert "live" not in {await state_of(lifecycle.pool, key) for key in members(upload_id)}


async def test_it_ends_only_when_storage_has_nothing(lifecycle: Lifecycle) -> None:
    """Somebody still writes during the last pass."""
    worker, stop = lifecycle.purge_worker(), asyncio.Event()
    await lifecycle.deliver(DELETED)
    for _ in lifecycle.config.pauses_s:
        await lifecycle.pool.execute("UPDATE purge SET due_at = now()")
        assert await worker.purge_next(stop)
    late = member_key(PROJECT, "late", 0, 1, 0)
    original = worker._pass

    async def write_meanwhile(purge: Purge, stopped: asyncio.Event) -> bool:
        done = await original(purge, stopped)
        await lifecycle.blobs.put_bytes(late, b"x")
        return done

    worker._pass = write_meanwhile  # type: ignore[method-assign, assignment]
    await lifecycle.pool.execute("UPDATE purge SET due_at = now()")
    assert await worker.purge_next(stop)
    assert await purged(lifecycle) == []

    await lifecycle.purge()

    assert await keys_in(lifecycle.blobs) == set()
    assert await purged(lifecycle) == [PROJECT]


async def test_a_project_that_is_asked_about_again_is_looked_at_again(lifecycle: Lifecycle) -> None:
    await lifecycle.deliver(DELETED)
    await lifecycle.purge()
    await given_upload(lifecycle.blobs)
    await lifecycle.deliver(msgspec.structs.replace(DELETED, id=new_id()))
    await lifecycle.purge()

    assert await keys_in(lifecycle.blobs) == set()
    assert await purged(lifecycle) == [PROJECT, PROJECT]


async def test_objects_are_dropped_in_groups_and_only_of_a_deleted_project(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = await given_upload(lifecycle.blobs, files=7)
    await lifecycle.deliver(registered(upload_id, members(upload_id, 7)))
    async with transaction(lifecycle.pool) as tx:
        assert await objects.drop_some_of(tx, PROJECT, reason="none", limit=3) == []
    monkeypatch.setattr(purge_worker, "GROUP_SIZE", 3)
    await lifecycle.deliver(DELETED)
    async with transaction(lifecycle.pool) as tx:
        with recorded(tx) as statements:
            assert len(await objects.drop_some_of(tx, PROJECT, reason="deleted", limit=3)) == 3
        await tx.execute("SET LOCAL enable_seqscan = off")
        assert await sequential_scans(tx, statements) == set()
    await lifecycle.purge()

    assert await keys_in(lifecycle.blobs) == set()
