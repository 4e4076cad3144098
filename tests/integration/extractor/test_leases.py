"""Whoever stops working on a stream is replaced; whoever lost it changes nothing."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

import pytest

from libs.contracts import ArchiveExtracted
from libs.db import transaction
from libs.leases import Lease, LeaseLost
from services.extractor.store import files, leases
from services.extractor.store.leases import LEASES
from tests.integration.extractor.harness import NOON, Extractor, Upload, tar_of
from tests.support.stack import Stack

FILES = {"config.json": b"{}", "model.bin": random.Random(1).randbytes(1_500_000)}


async def given_waiting(extractor: Extractor) -> Upload:
    """A stream of which half is there."""
    upload = extractor.upload(tar_of(FILES))
    await upload.open()
    await upload.send(range(len(upload.pieces) // 2))
    return upload


async def send_rest(upload: Upload) -> None:
    await upload.send(range(len(upload.pieces) // 2, len(upload.pieces)))


async def test_stopped_process_gives_its_leases_back_at_once(extractor: Extractor) -> None:
    """As at SIGTERM: the next one need not wait for a lease of an hour."""
    config = extractor.config_with(lease_s=3600)
    upload = await given_waiting(extractor)
    async with extractor.working(config):
        await extractor.until_progress(lambda seen: seen.parts_done > 0)
    assert await extractor.pool.fetchval("SELECT attempts FROM extraction WHERE leased_by IS NULL") == 0
    async with extractor.working(config):
        await send_rest(upload)
        assert await extractor.contents(await upload.extracted()) == FILES


async def test_dead_process_is_replaced_when_its_lease_runs_out(extractor: Extractor) -> None:
    upload = await given_waiting(extractor)
    await send_rest(upload)
    async with transaction(extractor.pool) as tx:
        [dead] = await leases.claim(tx, "dead", 1, 0.5, of_one_project=1)
    async with extractor.working():
        assert await extractor.contents(await upload.extracted()) == FILES
    async with transaction(extractor.pool) as tx:
        late = ArchiveExtracted(upload_id=upload.stream.upload_id, stream_id=upload.stream.id, files=[], at=NOON)
        assert not await leases.finish(tx, dead, late)
        assert not await files.add_files(tx, dead, 0, [], None)
        assert not await leases.park(tx, dead, 60)
    assert len(await extractor.emitted(ArchiveExtracted)) == 1


async def test_lost_lease_ends_the_work_at_once(extractor: Extractor) -> None:
    """A process that was paused for too long finds its stream in other hands."""
    upload = await given_waiting(extractor)
    async with extractor.working(extractor.config_with(lease_s=1)) as worker:
        await extractor.until_progress(lambda seen: seen.parts_done > 0)
        await extractor.pool.execute(
            "UPDATE extraction SET fence = fence + 1, leased_by = 'other', lease_until = now() + interval '1 hour'"
        )
        attempts = [task for task in asyncio.all_tasks() if task.get_name().startswith("extraction ")]
        await asyncio.wait(attempts, timeout=10)
        assert all(task.done() for task in attempts)
        await send_rest(upload)
        assert not worker.done()
    assert not await extractor.emitted(ArchiveExtracted)
    assert len(await extractor.objects(upload)) <= 1  # config.json, perhaps, and not half of model.bin
    assert await extractor.pool.fetchval("SELECT leased_by FROM extraction") == "other"


async def test_outage_of_postgres_costs_no_extraction_its_place(extractor: Extractor, stack: Stack) -> None:
    """However long it is: the lease has run out, nobody else has claimed it, so it is renewed."""
    upload = await given_waiting(extractor)
    async with extractor.working(extractor.config_with(lease_s=0.5)):
        await extractor.until_progress(lambda seen: seen.parts_done == len(upload.pieces) // 2)
        [lease] = [task for task in asyncio.all_tasks() if task.get_name().startswith("extraction ")]
        await stack.stop("postgres")
        await asyncio.sleep(1.5)  # three times what the lease lasts: that is what has to pass
        assert not lease.done()
        await stack.start("postgres")
        await extractor.patiently(lambda: send_rest(upload))
        assert await extractor.contents(await extractor.patiently(upload.extracted)) == FILES
    assert await claims(extractor) == 1


async def test_attempt_pauses_while_nobody_knows_whose_the_lease_is(extractor: Extractor) -> None:
    """It stops at the next step, with all that it has, and goes on where it was."""
    await extractor.upload(tar_of({"a": b"b"})).open(0)
    async with transaction(extractor.pool) as tx:
        [claim] = await leases.claim(tx, "me", 1, 60, of_one_project=1)
    lease = Lease(claim, until=time.monotonic() - 1)
    pausing = asyncio.create_task(lease.held())
    await asyncio.sleep(0)
    assert not pausing.done()
    lease.renewed(time.monotonic() - 0.5)  # run out again before it could look
    await asyncio.sleep(0)
    assert not pausing.done()
    lease.renewed(time.monotonic() + 60)
    await pausing
    lease.lose()
    with pytest.raises(LeaseLost):
        await lease.held()


async def test_process_does_not_take_a_stream_from_itself(extractor: Extractor) -> None:
    """After an outage its own leases have run out too, and what works under them goes on."""
    upload = await given_waiting(extractor)
    async with transaction(extractor.pool) as tx:
        [claim] = await leases.claim(tx, "me", 1, 0.0, of_one_project=1)
    async with transaction(extractor.pool) as tx:
        running = [upload.stream.id]
        assert await leases.claim(tx, "me", 1, 60, of_one_project=1, running=running) == []
        assert await LEASES.renew(tx, "me", [(claim.key, claim.fence)], 0.0) == {(claim.key, claim.fence)}
    async with transaction(extractor.pool) as tx:
        [again] = await leases.claim(tx, "me", 1, 60, of_one_project=1)  # nobody works under it
        assert await LEASES.renew(tx, "me", [(each.key, each.fence) for each in (claim, again)], 60) == {
            (again.key, again.fence)
        }


async def test_busy_pool_costs_no_lease(extractor: Extractor) -> None:
    """Leases are renewed while every other connection of the process is taken."""
    upload = await given_waiting(extractor)
    async with extractor.working(extractor.config_with(lease_s=0.5)):
        await extractor.until_progress(lambda seen: seen.parts_done == len(upload.pieces) // 2)
        async with AsyncExitStack() as taken:
            for _ in range(extractor.pool.get_max_size()):
                await taken.enter_async_context(extractor.pool.acquire())
            renewed = {await extractor.lease_pool.fetchval("SELECT lease_until FROM extraction")}
            async with asyncio.timeout(60):
                while len(renewed) < 4:
                    renewed.add(await extractor.lease_pool.fetchval("SELECT lease_until FROM extraction"))
        await send_rest(upload)
        await upload.extracted()
    assert await claims(extractor) == 1


async def test_racing_processes_claim_each_stream_once(extractor: Extractor) -> None:
    uploads = [extractor.upload(tar_of({"a": b"b"})) for _ in range(20)]
    for upload in uploads:
        await upload.send()
        await upload.open(*range(len(upload.pieces)))

    async def claim(owner: str) -> list[str]:
        async with transaction(extractor.pool) as tx:
            return [claim.key for claim in await leases.claim(tx, owner, 7, 60, of_one_project=7)]

    claimed = await asyncio.gather(*(claim(f"process {number}") for number in range(6)))
    every = [stream_id for some in claimed for stream_id in some]
    assert len(every) == len(set(every)) == 20


async def test_two_processes_share_the_work(extractor: Extractor) -> None:
    uploads = [extractor.upload(tar_of(FILES)) for _ in range(6)]
    async with (
        extractor.working(extractor.config_with(max_open=3)),
        extractor.working(extractor.config_with(max_open=3)),
    ):
        for upload in uploads:
            await upload.open()
        await asyncio.gather(*(upload.send() for upload in uploads))
        for upload in uploads:
            assert await extractor.contents(await upload.extracted()) == FILES
    assert len(await extractor.emitted(ArchiveExtracted)) == 6


async def test_idle_stream_gives_way_until_twice_its_parts_are_there(extractor: Extractor) -> None:
    upload = extractor.upload(tar_of(FILES))
    total = len(upload.pieces)
    async with extractor.working(extractor.config_with(idle_s=0.2)):
        await upload.open()
        await upload.send(range(5))
        await extractor.until_gave_way()
        assert await extractor.pool.fetchval("SELECT wanted_parts FROM extraction") == 10
        await upload.send(range(5, 9))
        assert await claims(extractor) == 1
        await upload.send([9])
        await extractor.until_gave_way(claims=2)
        assert await extractor.pool.fetchval("SELECT wanted_parts FROM extraction") == 20
        await upload.send(range(10, total))
        assert await extractor.contents(await upload.extracted()) == FILES
    assert await claims(extractor) == 3


async def test_idle_stream_gives_its_place_to_one_that_has_work(extractor: Extractor) -> None:
    idle, busy = extractor.upload(tar_of(FILES)), extractor.upload(tar_of(FILES))
    async with extractor.working(extractor.config_with(max_open=1, idle_if_wanted_s=0.1)):
        await idle.open()
        await idle.send([0])
        await extractor.until_progress(lambda seen: seen.parts_done > 0)
        await busy.open()
        await busy.send()
        await busy.extracted()
        await idle.send(range(1, len(idle.pieces)))
        assert await extractor.contents(await idle.extracted()) == FILES


async def claims(extractor: Extractor) -> int:
    """How often the one stream was claimed."""
    fence: int = await extractor.pool.fetchval("SELECT fence FROM extraction")
    return fence
