"""Compares storage with the table of objects, range by range in order of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

import msgspec

from libs.blobs import Blobs
from libs.contracts.keys import upload_of
from libs.db import Pool, Tx, connection, transaction
from libs.signals import notify
from services.lifecycle.audit_listing import Stored, stored_objects
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.errors import Interrupted
from services.lifecycle.groups import GROUP_SIZE, call_each, grouped
from services.lifecycle.ownership import MARK_KEY
from services.lifecycle.store import audits, holders, moves, objects, projects, unclaimed
from services.lifecycle.store.audits import Audit, Counts
from services.lifecycle.store.unclaimed import Unclaimed

RECORDED_AT_MOST = 100_000  # unclaimed objects a pass; what is beyond is counted, and recorded by a later pass
DROPPED_FOR_S = 86_400.0  # an object that is stored and was dropped longer ago has no purge any more


class Unordered(Exception):
    """The store does not list keys in the order of their bytes, as S3 does."""


class Scanner:
    """The phase `scan` of an audit: counts, and records unclaimed and missing objects. Deletes nothing.

    What is in a tier that its row does not name is left to the move workers (`move_worker`).
    """

    def __init__(self, pool: Pool, blobs: Blobs, config: LifecycleConfig) -> None:
        self._pool = pool
        self._blobs = blobs
        self._config = config

    async def scan(self, audit: Audit, stop: asyncio.Event) -> tuple[Audit, bool]:
        """Compare up to `slice_objects` from the cursor on. Returns the pass, and whether it is at its end.

        When an error is raised, the ranges compared before stay recorded.
        Raises: Unavailable; Interrupted; Unordered.
        """
        seen = 0
        async with aclosing(grouped(stored_objects(self._blobs, after=audit.cursor_key))) as groups:
            async for listed in groups:
                audit, all_compared = await self._compare(audit, listed, stop, at_end=False)
                seen += len(listed)
                if not all_compared or seen >= self._config.slice_objects:
                    return audit, False
        return await self._compare(audit, [], stop, at_end=True)

    async def _compare(
        self, audit: Audit, listed: Sequence[Stored], stop: asyncio.Event, *, at_end: bool
    ) -> tuple[Audit, bool]:
        """Compare the range of keys from the cursor to the last of `listed` (or `at_end`, all beyond the cursor).

        Where more registered objects are absent than a group has, the range ends with the last of those, and the
        second value returned is False.
        """
        keys = [each.key for each in listed]
        if keys != sorted(keys) or (keys and keys[0] <= audit.cursor_key):
            raise Unordered
        up_to = None if at_end else keys[-1]
        absent = await self._absent(audit, keys, up_to)
        all_compared = len(absent) < GROUP_SIZE
        if not all_compared:
            up_to = absent[-1]
            listed = [each for each in listed if each.key <= up_to]
        heads = await call_each(self._blobs.head, absent)
        missing = [key for key, head in zip(absent, heads, strict=True) if head is None]
        if stop.is_set():
            raise Interrupted
        cursor = up_to or (absent[-1] if absent else audit.cursor_key)
        async with transaction(self._pool) as tx:
            counts = await self._count(tx, audit, listed)
            marked, newly, size_bytes = await objects.mark_missing(tx, missing)
            counts = msgspec.structs.replace(counts, missing=marked, newly_missing=newly, missing_bytes=size_bytes)
            advanced = await audits.advance(tx, audit.fence, cursor, self._config.lease_s, counts)
            if advanced is None:
                raise Interrupted
        return advanced, all_compared

    async def _absent(self, audit: Audit, keys: Sequence[str], up_to: str | None) -> list[str]:
        async with connection(self._pool) as tx:
            return await objects.absent(
                tx, keys, after=audit.cursor_key, up_to=up_to, registered_before=audit.started_at, limit=GROUP_SIZE
            )

    async def _count(self, tx: Tx, audit: Audit, listed: Sequence[Stored]) -> Counts:
        """Count the objects stored in a range; record those that no model is known to have.

        Has the move workers put in order what is in a tier that its row does not name.
        """
        stored = [each for each in listed if each.key != MARK_KEY]
        known = await projects.known(tx, {project_of(each.key) for each in stored})
        ours = [each for each in stored if upload_of(each.key) is not None and project_of(each.key) in known]
        old = {each.key: each for each in ours if self._is_old(each, audit)}
        unknown = await objects.unknown(tx, [*old], [upload_prefix(key) for key in old], dropped_for_s=DROPPED_FOR_S)
        if audit.unclaimed < RECORDED_AT_MOST:
            found = [Unclaimed(key=key, project_id=project_of(key)) for key in unknown]
            await unclaimed.record(tx, found, audit=audit.audit)
        expiring, expiring_bytes = await holders.expiring(tx, [each.key for each in ours])
        cold = [each for each in ours if each.tier == "cold"]
        counts = Counts(
            objects=len(ours),
            size_bytes=sum(each.size_bytes for each in ours),
            files=sum(_is_file(each.key) for each in ours),
            unclaimed=len(unknown),
            unclaimed_files=sum(map(_is_file, unknown)),
            unclaimed_bytes=sum(old[key].size_bytes for key in unknown),
            foreign_objects=len(stored) - len(ours),
            cold_objects=len(cold),
            cold_bytes=sum(each.size_bytes for each in cold),
            expiring=expiring,
            expiring_bytes=expiring_bytes,
        )
        return counts if len(self._blobs.tiers) == 1 else await self._count_tiers(tx, audit, ours, counts)

    async def _count_tiers(self, tx: Tx, audit: Audit, ours: Sequence[Stored], counts: Counts) -> Counts:
        """Count what is in a tier that its row does not name, and schedule moves that put it in order."""
        placed = await moves.placed(tx, [each.key for each in ours])
        settled = [(each, placed[each.key].tier) for each in ours if each.key in placed and not placed[each.key].moving]
        leftovers = [
            (each, tier)
            for each, tier in settled
            if len(each.copies) == 2 and self._is_old(each, audit) and each.copies[tier].size_bytes == each.size_bytes
        ]
        misplaced = [(each, each.tier) for each, tier in settled if tier not in each.copies]
        if audit.stopped is None:
            rest_s = self._config.move_rest_s
            for tier in self._blobs.tiers:
                left = [each.key for each, named in leftovers if named == tier]
                await moves.schedule(tx, left, tier, reason="leftover", rest_s=rest_s)
                elsewhere = [each.key for each, found_in in misplaced if found_in == tier]
                await moves.schedule(tx, elsewhere, tier, reason="misplaced", rest_s=rest_s)
            if leftovers or misplaced:
                await notify(tx, moves.CHANNEL)
        return msgspec.structs.replace(
            counts,
            leftovers=len(leftovers),
            leftover_bytes=sum(each.size_bytes for each, _ in leftovers),
            misplaced=len(misplaced),
        )

    def _is_old(self, stored: Stored, audit: Audit) -> bool:
        """Whether a registration would have arrived by now: a younger object may belong to an upload under way."""
        config = self._config
        grace_s = config.unclaimed_files_after_s if _is_file(stored.key) else config.unclaimed_parts_after_s
        return stored.modified_at <= audit.started_at - timedelta(seconds=grace_s)


def project_of(key: str) -> str:
    return key.partition("/")[0]


def _is_file(key: str) -> bool:
    """Whether the key is an object of a model, not a part of an upload."""
    return key.split("/", 2)[1] == "objects"


def upload_prefix(key: str) -> str:
    """The prefix of a purge of the key's upload: the first three steps of the key."""
    return "/".join(key.split("/", 3)[:3]) + "/"
