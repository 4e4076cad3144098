"""Files whose last request did not live to make them one object: finished when their session is completed."""

from __future__ import annotations

from libs.db import connection
from services.gateway.dependencies import Dependencies
from services.gateway.uploads.incoming import chunks
from services.gateway.uploads.incoming.transfers import Sender, Superseded
from services.gateway.uploads.store import files, transfers
from services.gateway.uploads.store.sessions import Upload


async def finish_files(dependencies: Dependencies, upload: Upload) -> None:
    """Make every file whose bytes are all held one object. Emits: UploadOpened. Raises: Unavailable."""
    async with connection(dependencies.pool) as tx:
        held = [
            (file, transfer)
            for transfer in await transfers.of_upload(tx, upload.id)
            if (file := await files.by_number(tx, upload.id, transfer.number)) is not None
            and transfer.held_bytes == file.size_bytes
        ]
    for file, transfer in held:
        if transfer.part_count is not None:
            await chunks.finish(dependencies, upload, file, transfer)
            continue
        try:
            await Sender(dependencies, upload, file, transfer).finish()
        except Superseded:
            continue  # a newer request of the client's sees to it
