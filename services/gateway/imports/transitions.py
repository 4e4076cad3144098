"""The beginning of an import, and the questions to the extractor for its files.

Each function works in its caller's transaction. It returns the events that the caller has to emit in it.
"""

from __future__ import annotations

from datetime import datetime

from libs.contracts import Event
from libs.db import Tx
from services.gateway.imports.listing import Listing
from services.gateway.uploads import transitions as upload_transitions
from services.gateway.uploads.store import files, sources, streams
from services.gateway.uploads.store.uploads import Upload


async def begin(
    tx: Tx, upload: Upload, listing: Listing, *, source: str, secret: str | None, at: datetime
) -> list[Event]:
    """Everything is in the source: the upload, just opened, is complete: -> processing.

    Emits: UploadOpened for each file, UploadCompleted.
    """
    await sources.insert(tx, upload, listing.location, source=source, secret=secret)
    await files.insert_manifest(tx, upload.id, [(file.path, file.size_bytes, None) for file in listing.files])
    await streams.insert_remote(
        tx,
        upload.id,
        [(file.path, file.size_bytes, file.key, file.etag) for file in listing.files],
        due_at=at,
    )
    completed = await upload_transitions.complete(tx, upload, at=at)
    return [*upload_transitions.fetch(await sources.unfinished(tx, [upload.id]), at=at), *completed]


async def renew(tx: Tx, project_id: str, secret: str, *, at: datetime) -> list[Event]:
    """A secret was replaced or deleted: have the imports that it is of go on with what there is now.

    Emits: UploadOpened for each file that is not copied.
    """
    upload_ids = await sources.live_of_secret(tx, project_id, secret)
    return upload_transitions.fetch(await sources.unfinished(tx, upload_ids), at=at)
