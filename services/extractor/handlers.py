"""Handlers of the extractor's events: each records rows, and signals those who can go on because of them."""

from __future__ import annotations

from functools import partial

import msgspec

from libs.bus import Handlers
from libs.contracts import (
    Event,
    UploadAborted,
    UploadCompleted,
    UploadExpired,
    UploadFailed,
    UploadOpened,
    UploadPartStored,
    UploadResumeRequested,
    new_id,
)
from libs.db import Tx, after_commit
from libs.signals import notify
from services.extractor.progress import progress
from services.extractor.readers import reader
from services.extractor.store import remote, streams
from services.extractor.store.leases import CLAIMABLE
from services.extractor.store.streams import READABLE, STOPPED

handlers = Handlers("extractor")


@handlers.on(UploadOpened)
async def open_stream(event: UploadOpened, tx: Tx) -> list[Event]:
    """Begin an extraction, or record further parts of it.

    Emits: ArchiveExtracted or ArchiveRejected again, if the extraction has ended.
    """
    stream = event.stream
    await streams.lock_upload(tx, stream.upload_id)
    await streams.open_extraction(tx, stream)
    if stream.remote is not None:
        return await _fetch(event, tx)
    await streams.insert_parts(tx, stream.upload_id, stream.id, event.parts)
    landed = await streams.recount(tx, stream.id)
    if landed is None:
        return await _results_again(event, tx, [stream.id])
    await _announce(tx, stream.upload_id, stream.id, landed)
    return []


@handlers.on(UploadPartStored, idempotent=True)
async def add_part(event: UploadPartStored, tx: Tx) -> list[Event]:
    """Record a stored part; its stream may not be known yet."""
    landed = await streams.add_part(tx, event.upload_id, event.stream_id, event.part)
    if landed is None:  # unknown; or known only to a transaction that is under way, which does not see the part
        await streams.lock_upload(tx, event.upload_id)
        await streams.insert_parts(tx, event.upload_id, event.stream_id, [event.part])
        landed = await streams.recount(tx, event.stream_id)
    if landed is not None:
        await _announce(tx, event.upload_id, event.stream_id, landed)
    return []


@handlers.on(UploadCompleted)
async def repeat_results(event: UploadCompleted, tx: Tx) -> list[Event]:
    """Repeat the results of streams that have ended: the gateway waits for them.

    Emits: ArchiveExtracted, ArchiveRejected.
    """
    return await _results_again(event, tx, event.stream_ids)


@handlers.on(UploadResumeRequested)
async def resume_streams(event: UploadResumeRequested, tx: Tx) -> list[Event]:
    """Let streams that are parked, or pause between attempts, be claimed at once."""
    for stream_id in await streams.resume(tx, event.upload_id, event.stream_ids):
        await notify(tx, CLAIMABLE, stream_id)
    return []


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def stop_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Stop the upload's extractions, and never begin further ones. Lifecycle removes the objects."""
    await streams.lock_upload(tx, event.upload_id)
    for stream_id in await streams.end_upload(tx, event.upload_id):
        await notify(tx, STOPPED, stream_id)
    return []


async def _fetch(event: UploadOpened, tx: Tx) -> list[Event]:
    """A file of an import is all there: let it be claimed, with the credentials that the event has."""
    stream = event.stream
    state = await remote.fetch(tx, stream)
    if state is None:
        return await _results_again(event, tx, [stream.id])
    if not state.parked:
        after_commit(tx, partial(progress.parts_known, stream.upload_id, stream.id, 1))
    if state.fetchable:
        await notify(tx, CLAIMABLE, stream.id)
    return []


async def _announce(tx: Tx, upload_id: str, stream_id: str, landed: streams.Landed) -> None:
    """Signal a stored part to the process that can use it, and to no other."""
    if not landed.parked:  # progress says that a stream goes on
        after_commit(tx, partial(progress.parts_known, upload_id, stream_id, landed.parts_known))
    if landed.claimable:
        await notify(tx, CLAIMABLE, stream_id)
    elif landed.readable_by is not None and (here := reader(landed.readable_by, stream_id)):
        after_commit(tx, here.signal)
    elif landed.readable_by is not None:
        await notify(tx, READABLE, stream_id)


async def _results_again(event: Event, tx: Tx, stream_ids: list[str]) -> list[Event]:
    """The results of streams that have ended, as events with new ids, so that inboxes do not drop them."""
    results = [await streams.result(tx, stream_id) for stream_id in stream_ids]
    return [msgspec.structs.replace(result, id=new_id(), at=event.at) for result in results if result is not None]
