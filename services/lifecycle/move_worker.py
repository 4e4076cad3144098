"""Workers that move objects between the tiers of storage.

A move is a row from before the copy until nothing is left in the other tier. Its steps:

    copy      the object is copied to its new tier, and has its size there (nothing is copied where it has)
    commit    one transaction, if the lease is still held and the object is live: it is in the new tier from now on
    remove    the copy in the other tier is deleted
    finish    the row goes; the object rests in its tier for `move_rest_s`

Whoever takes a move over after a crash begins it again; what is done already is found done. A row whose object is in
the tier asked for only has the other tier cleared, which is how an audit has leftovers removed.

A live object is deleted only in `remove`, from the tier that its row does not name, after a look at the tier that it
names. A process may be paused between that and its DELETE, lose its lease, and wake up when the object has been moved
back. So the DELETE is signed before the last check, for REMOVAL_VALID_S: the store refuses it later, and an object is
not moved again until long after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from libs.blobs.transfer import transfer
from libs.contracts import ObjectMoved, Tier, new_id
from libs.db import connection, transaction
from libs.errors import ObjectNotFound, Unavailable
from libs.outbox import emit
from libs.periodic import AT_ONCE, repeat
from libs.tasks import end, unless_set
from services.lifecycle import metrics, states
from services.lifecycle.dependencies import Dependencies
from services.lifecycle.groups import call_each
from services.lifecycle.store import moves
from services.lifecycle.store.moves import LEASES, Move

REMOVAL_VALID_S = 300
LONGEST_BACKOFF_S = 3600.0  # between two attempts at an object that cannot be moved
ROUND_EVERY_S = 60.0  # between two looks for objects to be moved, after one that found none
_OTHER: dict[Tier, Tier] = {"hot": "cold", "cold": "hot"}

log = logging.getLogger(__name__)


class MoveWorker:
    """Claims moves that are due, in groups; looks for unread objects when there are none."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._config = dependencies.config
        self._pool = dependencies.pool
        self._tiers = dependencies.blobs.tiers
        self._signals = dependencies.signals
        self._ownership = dependencies.ownership
        self._holder = new_id()
        self._last_project = ""
        self._last_key = ""  # of those that leave the cold tier
        self._round_at = 0.0  # on the loop's clock

    async def run(self, stop: asyncio.Event) -> None:
        """Move until `stop`; then what is under way is given back."""

        async def work() -> float | None:
            return AT_ONCE if await self.move_next(stop) else None

        with self._signals.subscribe(moves.CHANNEL) as scheduled:
            await repeat(stop, work, self._config.poll_s, name="moves", wake=scheduled)

    async def move_next(self, stop: asyncio.Event) -> bool:
        """Do the next group of moves, or schedule some. Returns False if there is nothing to do.

        Emits: ObjectMoved.
        Raises: Unavailable, before anything is claimed.
        """
        if await self._ownership.stopped() is not None:
            return False
        async with connection(self._pool) as tx:
            claimed = await moves.claim(tx, self._holder, self._config.lease_s)
        if not claimed:
            return await self._schedule()
        async with self._renewing(claimed):
            await unless_set(stop, self._move(claimed))
        if stop.is_set():
            await self._put_back(claimed, delay_s=0)  # what has not ended
        return True

    async def _move(self, claimed: Sequence[Move]) -> None:
        """All steps for a group. Whatever fails at an object gives its move back, for a later attempt."""
        live = [move for move in claimed if move.state == states.LIVE]
        copied = await self._each(self._copy, live)
        cleared = await self._remove(await self._commit(copied))
        gone = await self._each(self._clear, [move for move in claimed if move.state != states.LIVE])
        await self._finish([*cleared, *gone])

    async def _copy(self, move: Move) -> bool:
        """See that the object is in its new tier. Returns False, with the move ended, if it is in neither.

        Raises: Unavailable; Invalid if it is not what was registered.
        """
        if move.stored_in == move.tier or await self._is_there(move):
            return True
        target = self._tiers[move.tier]
        if move.fence > 1:
            await target.abort_multiparts(move.key, only=[move.key])  # of a process that was killed
        source = self._tiers[_OTHER[move.tier]]
        try:
            await transfer(source, target, move.key, size_bytes=move.size_bytes, sha256=move.sha256)
        except ObjectNotFound:
            log.warning("an object to be moved is not in storage; the next audit looks for it", extra={"key": move.key})
            await self._finish([move])
            return False
        if not await self._is_there(move):
            raise Unavailable(f"Object storage does not show the copy of {move.key}.")
        return True

    async def _commit(self, copied: Sequence[Move]) -> list[Move]:
        """Record the new tier. Returns those for which it is; the others have lost their lease, or are not live.

        Emits: ObjectMoved.
        """
        if not copied:
            return []
        async with transaction(self._pool) as tx:
            keys = set(await moves.commit(tx, copied))
            committed = [move for move in copied if move.key in keys]
            changed = [move.key for move in committed if move.stored_in != move.tier]
            if changed:
                first = committed[0]  # all of a claim are of one project, and to one tier
                now = datetime.now(UTC)
                await emit(tx, [ObjectMoved(project_id=first.project_id, keys=changed, tier=first.tier, at=now)])
        if changed:
            metrics.objects_moved.labels(copied[0].tier).inc(len(changed))
        await self._put_back([move for move in copied if move.key not in keys], delay_s=0)
        return committed

    async def _is_placed(self, move: Move) -> bool:
        """Whether the object is in the tier that its row names; else the move is ended: an audit looks after it."""
        if await self._is_there(move):
            return True
        log.warning("an object is not in its tier; the next audit looks for it", extra={"key": move.key})
        await self._finish([move])
        return False

    async def _remove(self, committed: Sequence[Move]) -> list[Move]:
        """Delete the copies in the other tier. Returns the moves of which nothing is left there."""
        removals = {
            move.key: self._tiers[_OTHER[move.tier]].removal(move.key, valid_s=REMOVAL_VALID_S) for move in committed
        }
        there = await self._each(self._is_placed, committed)
        async with connection(self._pool) as tx:
            confirmed = await moves.confirmed(tx, there)
        await self._put_back([move for move in there if move.key not in confirmed], delay_s=0)

        async def send(move: Move) -> bool:
            await self._tiers[_OTHER[move.tier]].remove(removals[move.key])
            return True

        return await self._each(send, [move for move in there if move.key in confirmed])

    async def _clear(self, move: Move) -> bool:
        """Delete an object that is not live any more from both tiers: a purge may have passed before the copy."""
        if move.state is not None:  # else an audit asks about what is there
            for bucket in self._tiers.values():
                await bucket.abort_multiparts(move.key, only=[move.key])
                await bucket.delete([move.key])
        return True

    async def _is_there(self, move: Move) -> bool:
        stored = await self._tiers[move.tier].head(move.key)
        return stored is not None and stored.size_bytes == move.size_bytes

    async def _each(self, step: Callable[[Move], Awaitable[bool]], group: Sequence[Move]) -> list[Move]:
        """Those of the group for which the step returns True, several at a time. Gives back those at which it fails."""

        async def attempt(move: Move) -> bool:
            try:
                return await step(move)
            except Unavailable as error:
                log.warning("moving %s: %s", move.key, error)
                await self._put_back([move], delay_s=_backoff_s(move.failures), failed=True)
            except Exception:
                # One object that fails must not keep the worker from the others.
                log.exception("moving %s failed; it will be tried again", move.key)
                await self._put_back([move], delay_s=_backoff_s(move.failures + 6), failed=True)
            return False

        return [move for move, done in zip(group, await call_each(attempt, group), strict=True) if done]

    async def _finish(self, ended: Sequence[Move]) -> None:
        if ended:
            async with transaction(self._pool) as tx:
                await moves.lock(tx, ended)
                await moves.finish(tx, ended)

    async def _put_back(self, group: Sequence[Move], *, delay_s: float, failed: bool = False) -> None:
        if group:
            async with connection(self._pool) as tx:
                await moves.put_back(tx, group, delay_s=delay_s, failed=failed)

    @asynccontextmanager
    async def _renewing(self, claimed: Sequence[Move]) -> AsyncIterator[None]:
        """Renew the leases within the block: copying a large object takes longer than they last."""
        lease_s = self._config.lease_s
        named = [(move.key, move.fence) for move in claimed]

        async def renew() -> None:
            await asyncio.sleep(lease_s / 3)
            async with connection(self._pool) as tx:
                await LEASES.renew(tx, self._holder, named, lease_s)

        renewing = asyncio.create_task(repeat(asyncio.Event(), renew, AT_ONCE, name="leases on moves"))
        try:
            yield
        finally:
            await end(renewing)

    async def _schedule(self) -> bool:
        """Schedule a round of moves: of what was not read for long, or of what is to leave the cold tier.

        Returns whether there may be more.
        """
        now = asyncio.get_running_loop().time()
        config = self._config
        if now < self._round_at:
            return False
        if config.empty_cold:
            found = await self._schedule_cold()
        else:
            found = config.cold_after_s is not None and await self._schedule_unread(config.cold_after_s)
        if not found:
            self._round_at = now + ROUND_EVERY_S
        return found

    async def _schedule_unread(self, unread_for_s: float) -> bool:
        async with transaction(self._pool) as tx:
            last_project = await moves.schedule_unread(
                tx, unread_for_s=unread_for_s, rest_s=self._config.move_rest_s, after_project=self._last_project
            )
        found = last_project is not None or self._last_project != ""
        self._last_project = last_project or ""  # after the last project comes the first
        return found

    async def _schedule_cold(self) -> bool:
        async with transaction(self._pool) as tx:
            last_key = await moves.schedule_cold(tx, rest_s=self._config.move_rest_s, after=self._last_key)
        self._last_key = last_key or ""
        return last_key is not None


def _backoff_s(failures: int) -> float:
    """The pause after so many failures, in seconds: 1, 2, 4, … up to an hour."""
    return float(min(2.0 ** min(failures, 30), LONGEST_BACKOFF_S))
