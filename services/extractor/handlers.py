"""What the extractor does about each event: rows, and a signal to whoever can go on since."""

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
from services.extractor import store
from services.extractor.progress import progress
from services.extractor.readers import reader

CLAIMABLE = "extraction_claimable"  # signalled with the stream's id when it has something to read and nobody to do it
PARTS = "extraction_parts"  # signalled with the stream's id when whoever reads it can read on
STOPPED = "extraction_stopped"  # signalled with the stream's id when its upload has ended

handlers = Handlers("extractor")


@handlers.on(UploadOpened)
async def open_stream(event: UploadOpened, tx: Tx) -> list[Event]:
    """Begin an extraction, or learn of its further parts.

    Emits: ArchiveExtracted or ArchiveRejected again, if it has ended.
    """
    stream = event.stream
    await store.lock_upload(tx, stream.upload_id)
    await store.open_extraction(tx, stream)
    await store.insert_parts(tx, stream.upload_id, stream.id, event.parts)
    landed = await store.recount(tx, stream.id)
    if landed is None:
        return await _results_again(event, tx, [stream.id])
    await _announce(tx, stream.upload_id, stream.id, landed)
    return []


@handlers.on(UploadPartStored, idempotent=True)
async def add_part(event: UploadPartStored, tx: Tx) -> list[Event]:
    """Learn of one more part, perhaps before its stream is known."""
    landed = await store.add_part(tx, event.upload_id, event.stream_id, event.part)
    if landed is None:  # the stream is not known yet; or only to a transaction under way, which does not see the part
        await store.lock_upload(tx, event.upload_id)
        await store.insert_parts(tx, event.upload_id, event.stream_id, [event.part])
        landed = await store.recount(tx, event.stream_id)
    if landed is not None:
        await _announce(tx, event.upload_id, event.stream_id, landed)
    return []


@handlers.on(UploadCompleted)
async def repeat_results(event: UploadCompleted, tx: Tx) -> list[Event]:
    """The gateway waits for these streams: repeat the results of those that have ended.

    Emits: ArchiveExtracted, ArchiveRejected.
    """
    return await _results_again(event, tx, event.stream_ids)


@handlers.on(UploadResumeRequested)
async def resume_streams(event: UploadResumeRequested, tx: Tx) -> list[Event]:
    """Try what is parked, or pauses between attempts, at once."""
    for stream_id in await store.resume(tx, event.upload_id, event.stream_ids):
        await notify(tx, CLAIMABLE, stream_id)
    return []


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def stop_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Stop what is being unpacked, and never begin what comes later; lifecycle removes the objects."""
    await store.lock_upload(tx, event.upload_id)
    for stream_id in await store.end_upload(tx, event.upload_id):
        await notify(tx, STOPPED, stream_id)
    return []


async def _announce(tx: Tx, upload_id: str, stream_id: str, landed: store.Landed) -> None:
    """Wake who can make use of the part, and nobody else."""
    if not landed.parked:  # whoever hears of progress takes it that the stream goes on
        after_commit(tx, partial(progress.parts_known, upload_id, stream_id, landed.parts_known))
    if landed.claimable:
        await notify(tx, CLAIMABLE, stream_id)
    elif landed.readable_by is not None and (here := reader(landed.readable_by, stream_id)):
        after_commit(tx, here.signal)
    elif landed.readable_by is not None:
        await notify(tx, PARTS, stream_id)


async def _results_again(event: Event, tx: Tx, stream_ids: list[str]) -> list[Event]:
    """The results of those that have ended, as new events: whoever lost the first one has not seen these."""
    results = [await store.result(tx, stream_id) for stream_id in stream_ids]
    return [msgspec.structs.replace(result, id=new_id(), at=event.at) for result in results if result is not None]
