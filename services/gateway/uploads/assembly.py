"""The parts of a file become one object, and the object counts as the file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from libs.db import connection, transaction
from libs.outbox import emit
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import transitions
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.store import files, transfers
from services.gateway.uploads.store.channels import JOINING_ENDED
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.transfers import Transfer
from services.gateway.uploads.store.uploads import Upload

HELD_S = 60.0  # after which another request may join the parts, where a process that began to has died
LOOK_S = 5.0  # how often to look without a signal


class WholeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that has arrived."""

    sha256: str | None  # None: the extractor reads it for that
    arrived: int  # files of the upload
    expected: int


async def join(
    dependencies: Dependencies, transfer: Transfer, etags: Sequence[tuple[int, str]], size_bytes: int
) -> bool:
    """Make the parts, (S3's number, entity tag), one object; False if the transfer has ended meanwhile.

    One request does it at a time, and those that wait find the object there: stores differ in what becomes of two
    requests that complete one multipart upload at once. JuiceFS's gateway (1.4.2) refused all but one, and in one of
    sixty cases all of them, and the object was lost.
    Raises: MultipartGone; Unavailable.
    """
    with dependencies.signals.subscribe(JOINING_ENDED, transfer.key) as ended:
        while True:
            async with connection(dependencies.pool) as tx:
                turn = await transfers.begin_joining(tx, transfer, HELD_S)
            if turn == "ended":
                return False
            if turn != "taken":
                break
            await ended.wait(LOOK_S)
    try:
        await dependencies.blobs.complete_multipart(transfer.key, transfer.multipart_id or "", etags, size_bytes)
    finally:
        async with connection(dependencies.pool) as tx:
            await transfers.end_joining(tx, transfer, turn)
        dependencies.signals.wake(JOINING_ENDED, transfer.key)
        dependencies.signals.send(JOINING_ENDED, transfer.key)
    return True


async def record(
    dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer, sha256: str | None
) -> WholeFile | None:
    """Record the object that `transfer` has become; None if a newer request has taken the file over.

    With `sha256` None, the extractor is asked to read the object for it.
    Emits: UploadOpened, in that case.
    Raises: the reason, in that case, if the upload is not open.
    """
    if sha256 is not None:
        async with connection(dependencies.pool) as tx:
            receipt = await files.record_transfer(tx, transfer, sha256, lifetime(dependencies.config))
        return (
            WholeFile(sha256=sha256, arrived=receipt.arrived, expected=receipt.expected) if receipt.recorded else None
        )
    now = datetime.now(UTC)
    async with transaction(dependencies.pool) as tx:
        events = await transitions.hand_over(tx, upload, file, transfer, at=now)
        if not events:
            return None
        arrived, expected = (await files.counts(tx, [upload.id]))[upload.id]
        await emit(tx, events)
    return WholeFile(sha256=None, arrived=arrived, expected=expected)
