"""The parts of a file become one object: by one request at a time.

Stores differ in what becomes of two that complete one multipart upload at once. JuiceFS's gateway (1.4.2) refused all
but one, and in one of sixty cases all of them, and the object was lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from libs.db import connection
from services.gateway.dependencies import Dependencies
from services.gateway.uploads.store import transfers
from services.gateway.uploads.store.transfers import Transfer

COMPLETING = "upload_completing"  # the channel: signalled with the object's key when a request is done with it
HELD_S = 60.0  # after which another request may complete what a process that died had begun
LOOK_S = 5.0  # how often to look without a signal


async def complete(
    dependencies: Dependencies, transfer: Transfer, etags: Sequence[tuple[int, str]], size_bytes: int
) -> bool:
    """Make the parts, (S3's number, entity tag), one object; False if the transfer has ended meanwhile.

    Whoever comes second waits, and finds the object there. Raises: MultipartGone; Unavailable.
    """
    with dependencies.signals.subscribe(COMPLETING, transfer.key) as ended:
        while True:
            async with connection(dependencies.pool) as tx:
                turn = await transfers.begin_completing(tx, transfer, HELD_S)
            if turn != "taken":
                break
            await ended.wait(LOOK_S)
    if turn == "ended":
        return False
    try:
        await dependencies.blobs.complete_multipart(transfer.key, transfer.multipart_id or "", etags, size_bytes)
    finally:
        async with connection(dependencies.pool) as tx:
            await transfers.end_completing(tx, transfer)
        dependencies.signals.wake(COMPLETING, transfer.key)
        dependencies.signals.send(COMPLETING, transfer.key)
    return True
