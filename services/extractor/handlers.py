"""What the extractor does about each event: rows, and a signal to whoever works on them."""

from __future__ import annotations

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
    new_id,
)
from libs.db import Tx
from libs.signals import notify
from services.extractor import store

NEWS = "extraction"  # signalled with the stream's id when it has more to read, or can be claimed
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
    await store.add_parts(tx, stream.upload_id, stream.id, event.parts)
    await store.count_ready(tx, stream.id)
    await notify(tx, NEWS, stream.id)
    return await _result_again(event, tx, [stream.id])


@handlers.on(UploadPartStored)
async def add_part(event: UploadPartStored, tx: Tx) -> list[Event]:
    """Learn of one more part, perhaps before its stream is known."""
    await store.lock_upload(tx, event.upload_id)
    await store.add_parts(tx, event.upload_id, event.stream_id, [event.part])
    await store.count_ready(tx, event.stream_id)
    await notify(tx, NEWS, event.stream_id)
    return []


@handlers.on(UploadCompleted)
async def tell_results(event: UploadCompleted, tx: Tx) -> list[Event]:
    """The gateway waits for these streams: tell it again of those that have ended.

    Emits: ArchiveExtracted, ArchiveRejected.
    """
    return await _result_again(event, tx, event.stream_ids)


@handlers.on(UploadAborted, UploadExpired, UploadFailed)
async def stop_upload(event: UploadAborted | UploadExpired | UploadFailed, tx: Tx) -> list[Event]:
    """Stop what is being unpacked, and never begin what is told of later; lifecycle removes the objects."""
    await store.lock_upload(tx, event.upload_id)
    for stream_id in await store.end_upload(tx, event.upload_id):
        await notify(tx, STOPPED, stream_id)
    return []


async def _result_again(event: Event, tx: Tx, stream_ids: list[str]) -> list[Event]:
    """The results of those that have ended, as new events: whoever lost the first one has not seen these."""
    results = [await store.result(tx, stream_id) for stream_id in stream_ids]
    return [msgspec.structs.replace(result, id=new_id(), at=event.at) for result in results if result is not None]
