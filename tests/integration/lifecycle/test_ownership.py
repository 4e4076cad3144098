"""Nothing is deleted by mistake: another's bucket, a database from a backup, a bucket that was emptied."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from libs.blobs import Blobs
from libs.bus import Bus
from libs.contracts import (
    ModelRegistered,
    ObjectDeleted,
    ObjectDropped,
    ObjectFound,
    ObjectMissing,
    ObjectUnclaimed,
    UploadExpired,
    encode_event,
    event_type,
    new_id,
)
from libs.contracts.keys import file_key
from libs.db import Pool
from services.gateway.handlers import handlers as registry
from services.lifecycle import metrics
from services.lifecycle.ownership import MARK_KEY, Mark
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.uploads import (
    NOON,
    PROJECT,
    aborted,
    dropped,
    given_upload,
    keys_in,
    members,
    registered,
)
from tests.support import emitted
from tests.support.delivery import deliver
from tests.support.eventually import eventually
from tests.support.fixtures import PoolFor, StartService
from tests.support.stack import Stack

TABLES = ("object", "reference", "purge", "unclaimed", "project", "installation", "reconciliation", "inbox", "outbox")


async def given_model(lifecycle: Lifecycle, files: int) -> list[str]:
    """A registered model whose objects are in storage, and nothing else of its upload. Returns its keys."""
    upload_id = await given_upload(lifecycle.blobs, files=files, parts=1)
    await lifecycle.deliver(registered(upload_id, members(upload_id, files)))
    await lifecycle.purge()
    return members(upload_id, files)


async def mark_in(blobs: Blobs) -> Mark:
    """Whose bucket it is, by what is stored there."""
    return msgspec.json.decode(await blobs.read(MARK_KEY, 0, 4096), type=Mark)


async def back_up(pool: Pool) -> None:
    """Copy every table aside."""
    for table in TABLES:
        await pool.execute(f"CREATE TABLE backup_{table} AS TABLE {table}")


async def restore(pool: Pool) -> None:
    """Every table is again as it was when it was backed up."""
    async with pool.acquire() as tx, tx.transaction():
        await tx.execute(f"TRUNCATE {', '.join(TABLES)}")
        for table in TABLES:
            await tx.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE backup_{table}")


async def all_of(lifecycle: Lifecycle, kind: type[ObjectUnclaimed | ObjectMissing | ObjectFound]) -> set[str]:
    """The keys in all events of a kind so far."""
    return {key for event in await emitted(lifecycle.pool) if isinstance(event, kind) for key in event.keys}


async def ask_registry(lifecycle: Lifecycle, gateway: Pool) -> None:
    """Have the gateway's handlers answer what lifecycle has asked, and lifecycle apply the answers."""
    await gateway.execute("INSERT INTO project (id, name, slug) VALUES ($1, $1, 'a') ON CONFLICT DO NOTHING", PROJECT)
    for event in await emitted(lifecycle.pool):
        if event_type(event) in registry.events:
            await deliver(gateway, registry, event)
    for event in await emitted(gateway):
        if isinstance(event, ObjectDropped | ModelRegistered):
            await lifecycle.deliver(event)


async def purge_all(lifecycle: Lifecycle) -> int:
    """Do every pass of every purge that may be done by a process which is started now. Returns how many."""
    worker, passes = lifecycle.purge_worker(), 0
    await lifecycle.pool.execute("UPDATE purge SET due_at = now()")
    while await worker.purge_next(asyncio.Event()):
        await lifecycle.pool.execute("UPDATE purge SET due_at = now()")
        passes += 1
    return passes


async def test_an_installation_writes_its_id_into_its_bucket(lifecycle: Lifecycle) -> None:
    """Made once, kept in its schema; read by whoever comes later."""
    assert await lifecycle.ownership().stopped() is None
    mark = await mark_in(lifecycle.blobs)
    own = await lifecycle.pool.fetchrow("SELECT id, created_at FROM installation")
    assert (mark.id, mark.created_at, mark.namespace) == (own["id"], own["created_at"], lifecycle.name)
    assert await lifecycle.ownership().stopped() is None
    assert (await mark_in(lifecycle.blobs)).id == mark.id


async def test_a_second_installation_deletes_nothing(
    lifecycle: Lifecycle, other: Lifecycle, pool_for: PoolFor, caplog: pytest.LogCaptureFixture
) -> None:
    """Even what its own registry drops, in a project of the same name; it says why once, and what to do."""
    keys = await given_model(lifecycle, 30)
    await lifecycle.audit()
    before = await keys_in(lifecycle.blobs)

    upload_id = await given_upload(lifecycle.blobs)
    await other.deliver(aborted(upload_id), dropped(*keys))
    for _ in range(2):
        audited = await other.audit()
        await ask_registry(other, await pool_for("gateway"))
    assert await purge_all(other) == 0
    assert await keys_in(lifecycle.blobs) == before | await keys_in(lifecycle.blobs, f"{PROJECT}/uploads/") | {
        *members(upload_id)
    }
    assert audited.stopped is not None
    assert (await mark_in(lifecycle.blobs)).id in audited.stopped
    assert "slipway admin audit --fix" in audited.stopped
    assert await all_of(other, ObjectUnclaimed) == await all_of(other, ObjectMissing) == set()
    assert metrics.deletion_stopped._value.get() == 1
    ownership = other.ownership()
    caplog.clear()
    for _ in range(3):
        assert not await ownership.holds()
        assert await ownership.stopped(fresh=True) == audited.stopped
    assert [record.levelname for record in caplog.records if "belongs to installation" in record.message] == ["ERROR"]

    await lifecycle.deliver(aborted(upload_id))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == before, "the first one goes on"


async def test_an_operator_takes_a_bucket_over(lifecycle: Lifecycle, other: Lifecycle) -> None:
    """With `fix` the second one's id is written; from then on it deletes, and the first one does not."""
    await lifecycle.audit()
    upload_id = await given_upload(lifecycle.blobs)
    await other.deliver(aborted(upload_id))
    assert (await other.audit(fix=True)).stopped is None
    assert (await mark_in(lifecycle.blobs)).namespace == other.name
    await other.purge()
    assert await keys_in(lifecycle.blobs) == set()

    late = await given_upload(lifecycle.blobs)
    await lifecycle.deliver(aborted(late))
    assert await purge_all(lifecycle) == 0
    assert "belongs to installation" in ((await lifecycle.audit()).stopped or "")
    assert len(await keys_in(lifecycle.blobs)) == 5


async def test_projects_of_others_are_never_asked_about(lifecycle: Lifecycle, other: Lifecycle) -> None:
    """Not even when an operator says that what nobody knows may go."""
    await other.blobs.put_bytes(file_key("proj_other", "up", 0, "a"), b"x")
    audited = await lifecycle.audit(fix=True)
    assert (audited.foreign, audited.unclaimed, audited.objects) == (1, 0, 0)
    assert await all_of(lifecycle, ObjectUnclaimed) == set()


async def test_a_worker_sees_that_the_bucket_was_taken_over(lifecycle: Lifecycle, other: Lifecycle) -> None:
    """In the middle of its work: it looks again after `installation_check_s`, and gives its purge back."""
    lifecycle.config = msgspec.structs.replace(lifecycle.config, installation_check_s=0.001)
    await lifecycle.deliver(aborted(await given_upload(lifecycle.blobs, parts=1, files=0)))
    worker = lifecycle.purge_worker()
    assert await worker.purge_next(asyncio.Event())
    await other.audit(fix=True)
    assert not await worker.purge_next(asyncio.Event())
    assert await lifecycle.pool.fetchval("SELECT count(*) FROM purge WHERE leased_by IS NOT NULL") == 0


async def test_an_unreadable_mark_is_somebody_elses(lifecycle: Lifecycle) -> None:
    """What cannot be read is not overwritten."""
    await lifecycle.blobs.put_bytes(MARK_KEY, b"<not json>")
    assert await lifecycle.ownership().stopped() is not None
    assert await lifecycle.blobs.read(MARK_KEY, 0, 100) == b"<not json>"


async def test_a_database_from_last_night_deletes_nothing(lifecycle: Lifecycle, pool_for: PoolFor) -> None:
    """The bucket has seen later audits: whatever the older registry believes, nothing goes until an operator decides.

    It believes that an upload which has become a model since is still open, lets it expire, and knows nothing of the
    objects that came during the day.
    """
    gateway = await pool_for("gateway")
    known = await given_model(lifecycle, 30)
    await lifecycle.audit()
    await back_up(lifecycle.pool)
    today = [await given_upload(lifecycle.blobs, files=2, parts=0) for _ in range(2)]
    for upload_id in today:
        await lifecycle.deliver(registered(upload_id, members(upload_id, 2)))
    await lifecycle.purge()
    await lifecycle.audit()
    before = await keys_in(lifecycle.blobs)

    await restore(lifecycle.pool)
    expired = UploadExpired(upload_id=today[0], project_id=PROJECT, model_id=new_id(), at=NOON)
    await lifecycle.deliver(expired)
    assert await purge_all(lifecycle) == 0
    audited = await lifecycle.audit()
    await ask_registry(lifecycle, gateway)
    assert await purge_all(lifecycle) == 0
    assert "restored from a backup" in (audited.stopped or "")
    assert audited.unclaimed == 2, "the other two are about to be purged"
    assert await keys_in(lifecycle.blobs) == before

    assert (await lifecycle.audit(fix=True)).stopped is None
    await ask_registry(lifecycle, gateway)
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(known)


async def test_many_unknown_objects_stop_an_audit(lifecycle: Lifecycle, pool_for: PoolFor) -> None:
    """A backup that is younger than the last audit: the share of what no model is known to have gives it away."""
    gateway = await pool_for("gateway")
    known = await given_model(lifecycle, 30)
    await lifecycle.audit()
    await back_up(lifecycle.pool)
    new = await given_model(lifecycle, 21)

    await restore(lifecycle.pool)
    audited = await lifecycle.audit()
    await ask_registry(lifecycle, gateway)
    await purge_all(lifecycle)
    assert "21 of 51" in (audited.stopped or "")
    assert "slipway admin audit --fix" in (audited.stopped or "")
    assert audited.unclaimed == 21
    assert set(audited.keys) < set(new)
    assert await all_of(lifecycle, ObjectUnclaimed) == set()
    assert await keys_in(lifecycle.blobs) == {*known, *new}

    assert (await lifecycle.audit(fix=True)).stopped is None
    await ask_registry(lifecycle, gateway)
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(known)


async def test_few_unknown_objects_stop_nothing(lifecycle: Lifecycle, pool_for: PoolFor) -> None:
    """Neither a small number of objects, nor a small share of what is stored, nor parts of a slow upload."""
    known = await given_model(lifecycle, 30)
    few = await given_upload(lifecycle.blobs, files=20, parts=40)
    audited = await lifecycle.audit()
    assert (audited.stopped, audited.unclaimed) == (None, 60)
    await ask_registry(lifecycle, await pool_for("gateway"))
    await lifecycle.purge()
    assert await keys_in(lifecycle.blobs) == set(known)
    assert not await keys_in(lifecycle.blobs, f"{PROJECT}/objects/{few}/")
    many = await given_model(lifecycle, 470)
    await given_upload(lifecycle.blobs, files=25, parts=0)
    assert (await lifecycle.audit()).stopped is None
    assert set(many) <= await keys_in(lifecycle.blobs)


async def test_a_bucket_that_was_emptied_changes_no_model(lifecycle: Lifecycle) -> None:
    """All at once looks like a wrong setting: it is reported; an operator may say that it is so, and it heals."""
    keys = set(await given_model(lifecycle, 30))
    await lifecycle.audit()
    await lifecycle.blobs.delete([*keys, MARK_KEY])
    for _ in range(2):
        audited = await lifecycle.audit()
        assert audited.missing == 30
        assert "30 registered objects are not in storage" in (audited.stopped or "")
        assert await all_of(lifecycle, ObjectMissing) == set()

    assert (await lifecycle.audit(fix=True)).stopped is None
    assert await all_of(lifecycle, ObjectMissing) == keys
    assert (await lifecycle.audit()).stopped is None, "what was reported does not stop the next audit"

    for key in keys:
        await lifecycle.blobs.put_bytes(key, b"x")
    assert (await lifecycle.audit()).missing == 0
    assert await all_of(lifecycle, ObjectFound) == keys


async def test_an_emptied_bucket_is_not_asked_for_every_object(lifecycle: Lifecycle) -> None:
    """The previous audit says how much there should be: the first hundreds that are gone end this one."""
    keys = await given_model(lifecycle, 900)
    assert (await lifecycle.audit()).objects == 900
    await lifecycle.blobs.delete(keys)
    audited = await lifecycle.audit()
    assert audited.missing == 400
    assert audited.stopped is not None


async def test_two_installations_as_processes(
    start_service: StartService, stack: Stack, namespace: str, blobs: Blobs, pool_for: PoolFor
) -> None:
    """The second process finds the first one's bucket, at the speed of the loops and with graces of nothing."""
    hurry = {
        "poll_s": 0.1,
        "slice_pause_s": 0.1,
        "reconcile_interval_s": 0.5,
        "missing_confirm_s": 0.1,
        "unclaimed_files_after_s": 0.001,
        "unclaimed_parts_after_s": 0.001,
    }
    await start_service("lifecycle", **hurry)
    pool = await pool_for("lifecycle")

    async def first_has_begun() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM outbox WHERE type = 'object.audited.v1'"))

    await eventually(first_has_begun)
    upload_id = await given_upload(blobs, files=30)
    before = await keys_in(blobs)
    second = f"{namespace}second"
    async with Bus.open(stack.nats_url, second) as bus:
        await bus.session()
        for event in (aborted(upload_id), dropped(*members(upload_id, 30))):
            await bus.publish(event_type(event), encode_event(event), msg_id=event.id)
        await start_service("lifecycle", namespace=second, **hurry)

        async def second_has_stopped() -> bool:
            exists = await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{second}_lifecycle.unclaimed")
            return exists and bool(
                await pool.fetchval(
                    f"""
                    SELECT EXISTS (SELECT FROM {second}_lifecycle.outbox
                                    WHERE type = 'object.audited.v1' AND body->>'stopped' LIKE '%belongs to inst%')
                       AND (SELECT count(*) FROM {second}_lifecycle.purge) = 3
                       AND (SELECT pass > 3 FROM {second}_lifecycle.reconciliation)
                    """
                )
            )

        await eventually(second_has_stopped, timeout_s=60)
    assert await keys_in(blobs) == before
    told = await pool.fetchval(f"SELECT count(*) FROM {second}_lifecycle.outbox WHERE type <> 'object.audited.v1'")
    assert told == 0


async def test_only_what_is_in_the_bucket_is_deleted_by_whom_it_belongs_to(
    lifecycle: Lifecycle, other: Lifecycle
) -> None:
    """Two installations that begin at the same moment on a new bucket: one keeps it, the other one stops."""
    one, two = lifecycle.ownership(), other.ownership()
    await asyncio.gather(one.stopped(), two.stopped())
    answers = [await one.stopped(fresh=True), await two.stopped(fresh=True)]
    assert answers.count(None) == 1
    mark = await mark_in(lifecycle.blobs)
    assert mark.namespace == (lifecycle.name if answers[0] is None else other.name)
    assert mark.created_at is not None
    assert mark.created_at <= datetime.now(UTC)
    deleted = [event for event in await emitted(lifecycle.pool) if isinstance(event, ObjectDeleted)]
    assert deleted == []
