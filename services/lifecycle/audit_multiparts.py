"""Multipart uploads that nobody goes on with: whoever began them was killed, after the last purge of the upload."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

from libs.blobs import Blobs, MultipartInfo
from libs.contracts.keys import upload_of
from libs.db import Pool, transaction
from services.lifecycle.audit_scan import DROPPED_FOR_S, project_of, upload_prefix
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.groups import grouped
from services.lifecycle.store import moves, objects, projects, unclaimed
from services.lifecycle.store.audits import Audit
from services.lifecycle.store.unclaimed import Unclaimed


async def record_abandoned(pool: Pool, blobs: Blobs, config: LifecycleConfig, audit: Audit) -> None:
    """Look through the multipart uploads of all tiers that were begun longer ago than unclaimed files may be old.

    Those that no model is known to have are recorded with the unclaimed objects: when the registry drops them, a purge
    aborts them. Those of live objects that are not being moved are aborted: the objects are whole.
    Raises: Unavailable.
    """
    begun_before = audit.started_at - timedelta(seconds=config.unclaimed_files_after_s)
    for bucket in blobs.tiers.values():
        async with aclosing(grouped(bucket.multiparts())) as groups:
            async for begun in groups:
                old = [each for each in begun if each.begun_at is not None and each.begun_at <= begun_before]
                for each in await _whole(pool, audit, old):
                    await bucket.abort_multipart(each.key, each.upload_id)


async def _whole(pool: Pool, audit: Audit, begun: Sequence[MultipartInfo]) -> list[MultipartInfo]:
    """Those of live objects that are not being moved. Records those that no model is known to have."""
    async with transaction(pool) as tx:
        known = await projects.known(tx, {project_of(each.key) for each in begun})
        ours = [each for each in begun if upload_of(each.key) is not None and project_of(each.key) in known]
        keys = sorted({each.key for each in ours})
        prefixes = [upload_prefix(key) for key in keys]
        unknown = await objects.unknown(tx, keys, prefixes, dropped_for_s=DROPPED_FOR_S)
        found = [Unclaimed(key=key, project_id=project_of(key)) for key in unknown]
        await unclaimed.record(tx, found, audit=audit.audit)
        placed = await moves.placed(tx, keys)
    return [each for each in ours if each.key in placed and not placed[each.key].moving]
