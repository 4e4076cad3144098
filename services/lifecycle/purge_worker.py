"""Workers that delete objects from storage, as purges say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from os.path import commonprefix

from libs.contracts import ObjectDeleted, ProjectPurged, new_id
from libs.db import connection, transaction
from libs.errors import Unavailable
from libs.outbox import emit
from libs.periodic import AT_ONCE, repeat
from services.lifecycle import metrics
from services.lifecycle.dependencies import Dependencies
from services.lifecycle.errors import Interrupted
from services.lifecycle.groups import GROUP_SIZE, call_each, grouped, in_groups
from services.lifecycle.store import objects, purges
from services.lifecycle.store.purges import LEASES, Purge

LONGEST_BACKOFF_S = 3600.0  # between two attempts when storage refuses to delete
TURN_GROUPS = 25  # with something to delete; then other projects have their turn

log = logging.getLogger(__name__)


class PurgeWorker:
    """Claims due purges, one after the other, of one project after the other.

    A pass may be cut off at any time: the next claim begins it again.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._config = dependencies.config
        self._pool = dependencies.pool
        self._blobs = dependencies.blobs
        self._signals = dependencies.signals
        self._ownership = dependencies.ownership
        self._holder = new_id()
        self._last_project = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Purge until `stop`; then the purge that is under way is given back."""

        async def work() -> float | None:
            return AT_ONCE if await self.purge_next(stop) else None

        with self._signals.subscribe(purges.CHANNEL) as scheduled:
            await repeat(stop, work, self._config.poll_s, name="purge", wake=scheduled)

    async def purge_next(self, stop: asyncio.Event) -> bool:
        """Do a pass of the next purge. Returns False if none is due, or if nothing may be deleted.

        Emits: ObjectDeleted; ProjectPurged at the end of the purge of a project.
        Raises: Unavailable, before anything is claimed.
        """
        if await self._ownership.stopped() is not None:
            return False
        async with connection(self._pool) as tx:
            purge = await purges.claim(tx, self._holder, self._config.lease_s, after_project=self._last_project)
        if purge is None:
            return False
        self._last_project = purge.project_id
        try:
            done = await self._pass(purge, stop)
        except Interrupted:
            await self._put_back(purge, delay_s=0)
        except Unavailable as error:
            log.warning("purge of %s: %s", purge.prefix or "keys", error)
            await self._put_back(purge, delay_s=_backoff_s(purge.failures), failed=True)
        except Exception:
            # One purge that fails must not keep the worker from the others.
            log.exception("purge of %s failed; it will be tried again", purge.prefix or "keys")
            await self._put_back(purge, delay_s=_backoff_s(purge.failures + 6), failed=True)
        else:
            await (self._end_pass(purge) if done else self._put_back(purge, delay_s=0))
        return True

    async def _pass(self, purge: Purge, stop: asyncio.Event) -> bool:
        """Delete every object of the purge that is not live. Returns False if there are more than fit a turn.

        Raises: Unavailable, after deleting what storage allows; Interrupted.
        """
        if purge.of_project:
            await self._drop_project(purge, stop)
        if purge.prefix is not None:
            await self._blobs.abort_multiparts(purge.prefix)
        elif purge.keys:
            shared = commonprefix(purge.keys)  # noqa: RUF071  # of keys: no path
            await self._blobs.abort_multiparts(shared, only=frozenset(purge.keys))
        refused: Unavailable | None = None
        turns = 0
        async with aclosing(self._groups(purge)) as groups:
            async for keys in groups:
                if turns == TURN_GROUPS and purge.prefix is not None:
                    break
                if stop.is_set() or await self._ownership.stopped() is not None or not await self._renew(purge):
                    raise Interrupted
                try:
                    turns += await self._delete(purge, keys)
                except Refusals as error:
                    refused = error
        if refused is not None:
            raise refused
        return turns < TURN_GROUPS or purge.prefix is None

    async def _drop_project(self, purge: Purge, stop: asyncio.Event) -> None:
        """live -> dropped, a group in each transaction, what the events of a deleted project's models have not dropped.

        Raises: Interrupted.
        """
        dropped = True
        while dropped:
            if stop.is_set() or await self._ownership.stopped() is not None or not await self._renew(purge):
                raise Interrupted
            async with transaction(self._pool) as tx:
                keys = await objects.drop_some_of(tx, purge.project_id, reason=purge.reason, limit=GROUP_SIZE)
                await objects.remove_references(tx, keys)
            dropped = bool(keys)

    async def _groups(self, purge: Purge) -> AsyncGenerator[Sequence[str], None]:
        """The purge's keys; or those stored under its prefix, then those that an earlier pass has dropped there."""
        if purge.prefix is None:
            for keys in in_groups(purge.keys or []):
                yield keys
            return
        for bucket in self._blobs.tiers.values():
            async with aclosing(grouped(bucket.list(purge.prefix))) as found:
                async for infos in found:
                    yield [info.key for info in infos]
        after = ""
        while dropped := await self._dropped_under(purge.prefix, after):
            yield dropped
            after = dropped[-1]

    async def _dropped_under(self, prefix: str, after: str) -> list[str]:
        async with connection(self._pool) as tx:
            return await objects.dropped_under(tx, prefix, after=after, limit=GROUP_SIZE)

    async def _delete(self, purge: Purge, keys: Sequence[str]) -> bool:
        """Delete those of `keys` that are not live: mark them, delete them in storage, record that they are deleted.

        Returns whether there were any. Raises: Unavailable; Refusals, after deleting the others.
        """
        async with transaction(self._pool) as tx:
            claimed = await objects.mark_for_deletion(tx, purge.project_id, keys, reason=purge.reason)
        if not claimed:
            return False
        try:
            await self._blobs.delete(claimed)
        except Unavailable as error:
            if not await self._blobs.ping():
                raise
            refused = await self._delete_each(claimed)
            await self._mark_deleted(purge, [key for key in claimed if key not in refused])
            if refused:
                message = f"Storage does not delete {len(refused)} objects, such as {min(refused)}: {error}"
                raise Refusals(message) from error
        else:
            await self._mark_deleted(purge, claimed)
        return True

    async def _delete_each(self, keys: Sequence[str]) -> set[str]:
        """Delete keys one by one. Returns those that storage refuses to delete."""

        async def delete(key: str) -> bool:
            try:
                await self._blobs.delete([key])
            except Unavailable:
                return False
            return True

        return {key for key, gone in zip(keys, await call_each(delete, keys), strict=True) if not gone}

    async def _mark_deleted(self, purge: Purge, keys: Sequence[str]) -> None:
        async with transaction(self._pool) as tx:
            deleted = await objects.mark_deleted(tx, keys)
            if deleted:
                await emit(tx, [ObjectDeleted(project_id=purge.project_id, keys=deleted, at=datetime.now(UTC))])
        metrics.objects_deleted.inc(len(deleted))

    async def _renew(self, purge: Purge) -> bool:
        async with connection(self._pool) as tx:
            return bool(await LEASES.renew(tx, self._holder, [(purge.id, purge.fence)], self._config.lease_s))

    async def _put_back(self, purge: Purge, *, delay_s: float, failed: bool = False) -> None:
        async with connection(self._pool) as tx:
            await purges.put_back(tx, purge, delay_s=delay_s, failed=failed)

    async def _end_pass(self, purge: Purge) -> None:
        pauses_s = self._config.pauses_s
        if purge.of_project and purge.pass_number >= len(pauses_s) and await self._has_objects(purge):
            await self._put_back(purge, delay_s=pauses_s[-1])  # somebody still writes
            return
        async with transaction(self._pool) as tx:
            if purge.pass_number < len(pauses_s):
                await purges.end_pass(tx, purge, next_in_s=pauses_s[purge.pass_number])
            elif not await purges.finish(tx, purge):
                await purges.end_pass(tx, purge, next_in_s=0)
            elif purge.of_project:
                await emit(tx, [ProjectPurged(project_id=purge.project_id, at=datetime.now(UTC))])

    async def _has_objects(self, purge: Purge) -> bool:
        """Whether storage has anything under the purge's prefix. Raises: Unavailable."""
        for bucket in self._blobs.tiers.values():
            async with aclosing(grouped(bucket.list(purge.prefix or ""))) as found:
                async for _ in found:
                    return True
        return False


class Refusals(Unavailable):
    """Storage has deleted some of the objects, and refuses to delete others."""


def _backoff_s(failures: int) -> float:
    """The pause after so many failures, in seconds: 1, 2, 4, … up to an hour."""
    return float(min(2.0 ** min(failures, 30), LONGEST_BACKOFF_S))
