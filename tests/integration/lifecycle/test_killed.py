"""Lifecycle is killed at each step of a move and of a purge: no object is lost, and the next audit is clean."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec
import pytest

from libs.blobs import Blobs
from libs.contracts import ObjectAudited, ObjectDeleted, ObjectsRead
from services.lifecycle.reads import ReadObjects
from tests.integration.lifecycle.harness import Lifecycle
from tests.integration.lifecycle.holding import holding
from tests.integration.lifecycle.test_moving import found_in, given_model, moved
from tests.integration.lifecycle.uploads import dropped
from tests.support import emitted
from tests.support.eventually import eventually
from tests.support.fixtures import StartService
from tests.support.stack import Stack

MOVES = 1000
REST_S = 2  # longer than any reader takes for its three looks
HASTE = {"lease_s": 1, "poll_s": 0.1, "purge_pauses_s": "0.1,0.1", "reconcile_interval_s": 3600}


class Installation:
    """Lifecycle as a process, on the tables and the two buckets of `tiered`."""

    def __init__(self, tiered: Lifecycle, start: StartService, stack: Stack, namespace: str) -> None:
        self.tiered = tiered
        self._start = start
        self._urls = {"s3_url": stack.bucket_url(namespace), "s3_cold_url": stack.bucket_url(f"{namespace}cold")}
        self.hot, self.cold = namespace, f"{namespace}cold"
        self._s3_url = stack.s3_url

    async def start(self, **settings: object) -> asyncio.subprocess.Process:
        return await self._start("lifecycle", **HASTE | self._urls | settings)

    async def killed_at(
        self, method: str, bucket: str, key: str, *, answered: bool, nth: int, **settings: object
    ) -> None:
        """Start it, and kill it when it sends the `nth` such request; with `answered`, when the store has done it."""
        seen = 0

        def matches(its_method: str, target: str) -> bool:
            nonlocal seen
            if (its_method, target) == (method, f"{bucket}/{key}"):
                seen += 1
            return seen >= nth and (its_method, target) == (method, f"{bucket}/{key}")

        async with holding(self._s3_url, matches, answered=answered) as (proxy, address):
            urls = {
                name: url.replace(urlsplit(url).netloc.rpartition("@")[2], address) for name, url in self._urls.items()
            }
            process = await self.start(**urls, **settings)
            async with asyncio.timeout(60):
                await proxy.held.wait()
            process.kill()
            await process.wait()

    async def works_off(self, table: str, **settings: object) -> None:
        """Start it, until it has done everything in this table."""
        process = await self.start(**settings)

        async def none() -> bool:
            return not await self.tiered.pool.fetchval(f"SELECT count(*) FROM {table}")

        await eventually(none, timeout_s=60)
        process.terminate()
        await process.wait()


@pytest.fixture
def installation(tiered: Lifecycle, start_service: StartService, stack: Stack, namespace: str) -> Installation:
    return Installation(tiered, start_service, stack, namespace)


@asynccontextmanager
async def read_all_the_time(blobs: Blobs, keys: list[str], content: bytes = b"x") -> AsyncIterator[list[int]]:
    """Within the block, whoever reads any of these objects gets it. Yields how many reads there were."""
    reads = [0]
    stop = asyncio.Event()

    async def read(lane: list[str]) -> None:
        while not stop.is_set():
            for key in lane:
                assert await blobs.read(key, 0, 100) == content, key
                assert await blobs.head(key) is not None, key
                reads[0] += 1
                await asyncio.sleep(0.005)  # the others have their turn

    tasks = [asyncio.create_task(read(keys[lane::4])) for lane in range(4) if keys[lane::4]]
    try:
        yield reads
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def is_clean(audited: ObjectAudited) -> bool:
    found = (audited.unclaimed, audited.missing, audited.leftovers, audited.misplaced)
    return found == (0, 0, 0, 0) and audited.stopped is None


# bucket, method, whether the store has done it, the how manieth of that kind for the key
COPYING = [
    pytest.param("cold", "PUT", False, 1, id="before the copy"),
    pytest.param("cold", "PUT", True, 1, id="after the copy"),
    pytest.param("cold", "HEAD", False, 3, id="between copy and commit"),
    pytest.param("hot", "DELETE", False, 1, id="between commit and delete"),
    pytest.param("hot", "DELETE", True, 1, id="after the delete"),
]


@pytest.mark.parametrize(("bucket", "method", "answered", "nth"), COPYING)
async def test_killed_at_each_step_of_a_move(
    installation: Installation, bucket: str, method: str, answered: bool, nth: int
) -> None:
    """The next process ends the move; whoever reads meanwhile finds the object."""
    tiered = installation.tiered
    keys = await given_model(tiered, 8)
    names = {"hot": installation.hot, "cold": installation.cold}
    async with read_all_the_time(tiered.blobs, keys) as reads:
        await installation.killed_at(method, names[bucket], keys[3], answered=answered, nth=nth, cold_after_s=0.1)
        found = await found_in(tiered)
        assert found["hot"] | found["cold"] == set(keys)
        assert await tiered.pool.fetchval("SELECT count(*) FROM move") > 0, "somebody has to know of it"
        await installation.works_off("move", cold_after_s=0.1)
    assert reads[0] > 100
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys)}
    assert is_clean(await tiered.audit())


@pytest.mark.parametrize("answered", [False, True], ids=["before the store has it", "after the store has done it"])
async def test_killed_between_the_database_and_storage_of_a_purge(installation: Installation, answered: bool) -> None:
    """Marked and not deleted, or deleted and not recorded: the next process ends it, and tells of each key once."""
    tiered = installation.tiered
    keys = await given_model(tiered, 8)
    await tiered.move()
    await tiered.deliver(dropped(*keys[:6]))
    await installation.killed_at("DELETE", installation.cold, keys[3], answered=answered, nth=1)
    states = await tiered.pool.fetch("SELECT DISTINCT state FROM object WHERE key = ANY($1)", keys[:6])
    assert [row["state"] for row in states] == ["dropped"]
    await installation.works_off("purge")
    assert await found_in(tiered) == {"hot": set(), "cold": set(keys[6:])}
    told = [key for event in await emitted(tiered.pool) if isinstance(event, ObjectDeleted) for key in event.keys]
    assert sorted(told) == keys[:6]
    assert is_clean(await tiered.audit())


async def killed_and_replaced(tiered: Lifecycle, stop: asyncio.Event, seed: int) -> None:
    """A move worker that dies somewhere in its work, without another word, and is replaced at once, again and again."""
    rng = random.Random(seed)
    while not stop.is_set():
        worker = tiered.move_worker(move_rest_s=REST_S, lease_s=0.5, poll_s=0.05)
        working = asyncio.create_task(worker.run(stop))
        await asyncio.wait([working], timeout=rng.uniform(0.2, 3))
        working.cancel()
        await asyncio.wait([working])


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_an_object_is_in_a_tier_at_every_moment(tiered: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand moves and more, there and back, by two workers that are killed all the time."""
    monkeypatch.setattr("services.lifecycle.store.moves.OBJECTS_AT_ONCE", 16)
    keys = await given_model(tiered, 300)
    reads = ReadObjects(tiered.pool, tiered.dependencies(move_rest_s=REST_S).config)
    stop = asyncio.Event()

    async def moved_often() -> bool:
        await tiered.pool.execute("UPDATE object SET last_read_at = now() - interval '2 hours' WHERE tier = 'cold'")
        await reads.receive(msgspec.json.encode(ObjectsRead(keys=keys)))
        await reads.write()
        await asyncio.sleep(0.5)
        return len(await moved(tiered)) >= MOVES

    async with read_all_the_time(tiered.blobs, keys) as looks:
        workers = [asyncio.create_task(killed_and_replaced(tiered, stop, seed)) for seed in range(2)]
        await eventually(moved_often, timeout_s=400)
        stop.set()
        await asyncio.gather(*workers)
    assert looks[0] > 1000
    await tiered.pool.execute("UPDATE move SET leased_by = NULL, lease_until = NULL, due_at = now()")
    await tiered.move(cold_after_s=None)
    found = await found_in(tiered)
    assert found["hot"] | found["cold"] == set(keys)
    assert not found["hot"] & found["cold"]
    assert is_clean(await tiered.audit())
