"""A file as one resumable stream: what arrives is appended to an S3 multipart upload, and hashed on the way.

A request takes the next fence of its file, and records every part by itself as soon as that is stored: a connection
that breaks costs the part that was under way, and the next request, in whatever process, goes on behind the last one.
What a request brings beyond the last whole part is an object of its own, the tail, which the next request takes up.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from libs.blobs import MAX_PARTS, MultipartGone
from libs.contracts.keys import file_key, new_attempt, part_key
from libs.db import connection, transaction
from libs.digest import Digest
from libs.errors import ChecksumMismatch
from libs.outbox import emit
from services.gateway.dependencies import Dependencies
from services.gateway.uploads import assembly
from services.gateway.uploads.assembly import WholeFile
from services.gateway.uploads.deadlines import lifetime
from services.gateway.uploads.objects import discard, dropped
from services.gateway.uploads.part_sizes import of_stream
from services.gateway.uploads.receiving import DividedBody
from services.gateway.uploads.store import transfers
from services.gateway.uploads.store.files import UploadFile
from services.gateway.uploads.store.transfers import Transfer, TransferPart
from services.gateway.uploads.store.uploads import Upload

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

log = logging.getLogger(__name__)


class Superseded(Exception):
    """A newer request has taken the file over, the upload has ended, or the store has lost the parts."""


async def next_fence(
    dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer | None, sha256: str | None
) -> Transfer:
    """Take the next fence of a file: only the request that has it can record parts.

    transfer: what is held of the file, as it was looked up; None if nothing is.
    Raises: Superseded, if more is held by now.
    """
    async with connection(dependencies.pool) as tx:
        if transfer is not None:
            taken = await transfers.take_over(tx, transfer, sha256)
        else:
            taken = await transfers.begin(
                tx,
                upload.id,
                file.number,
                key=file_key(upload.project_id, upload.id, file.number, new_attempt()),
                part_bytes=of_stream(file.size_bytes),
                sha256=sha256,
            )
    if taken is None:
        raise Superseded
    return taken


class Turn:
    """One request's turn at sending a file, under the fence of `transfer`."""

    def __init__(self, dependencies: Dependencies, upload: Upload, file: UploadFile, transfer: Transfer) -> None:
        self.transfer = transfer
        self._dependencies = dependencies
        self._upload = upload
        self._file = file
        self._running: Hash | None = dependencies.digests.find(transfer)
        self._lifetime = lifetime(dependencies.config)

    async def append(self, body: DividedBody, size_bytes: int) -> None:
        """Store `size_bytes` more: whole parts as parts, what is left as the tail.

        Raises: Superseded; ChecksumMismatch, after which nothing of the file is held; PartSizeMismatch; Unavailable.
        """
        end = self.transfer.held_bytes + size_bytes
        async with self._discarded_if_gone():
            while self.transfer.held_bytes < end:
                part_end = min(self._part_start + self.transfer.part_bytes, self._file.size_bytes)
                if part_end <= end:
                    await self._add_part(body, part_end, more=part_end < end)
                else:
                    await self._set_tail(body, end)

    async def finish(self) -> WholeFile:
        """Every byte is held: make them one object, and record it.

        Raises: Superseded; ChecksumMismatch, as `append`; Unavailable.
        """
        transfer = self.transfer
        await self._require_checksum(self._running)
        async with connection(self._dependencies.pool) as tx:
            parts = await transfers.parts(tx, transfer)
        etags = [(part.s3_number, part.etag) for part in parts]
        async with self._discarded_if_gone():
            joined = await assembly.join(self._dependencies, transfer, etags, self._file.size_bytes)
        if not joined:
            raise Superseded
        sha256 = None if self._running is None else self._running.hexdigest()
        whole = await assembly.record(self._dependencies, self._upload, self._file, transfer, sha256)
        if whole is None:
            raise Superseded
        self._dependencies.digests.forget(transfer.key)
        return whole

    @asynccontextmanager
    async def _discarded_if_gone(self) -> AsyncIterator[None]:
        """Where the store has lost the parts, the file starts again. Raises: Superseded."""
        try:
            yield
        except MultipartGone as gone:
            log.warning("a file starts again: %s", gone, extra={"upload_id": self._upload.id})
            await discard(self._dependencies, self._upload, self.transfer, reason="multipart_gone")
            raise Superseded from gone

    @property
    def _part_start(self) -> int:
        """Where the part that is not whole yet begins: the tail is its beginning."""
        return self.transfer.held_bytes - self.transfer.tail_bytes

    async def _add_part(self, body: DividedBody, part_end: int, *, more: bool) -> None:
        old = self.transfer
        if old.next_part > MAX_PARTS:
            await discard(self._dependencies, self._upload, self.transfer, reason="too_many_parts")
            raise Superseded
        multipart_id = old.multipart_id or await self._begin_multipart()
        content: AsyncIterator[bytes] = self._with_tail(body, part_end - old.held_bytes)
        digest = None if self._running is None else Digest(content, self._running)
        if digest is not None:
            content = aiter(digest)
        etag = await self._dependencies.blobs.put_part(
            old.key, multipart_id, old.next_part, content, part_end - self._part_start
        )
        running = None if digest is None else digest.hash
        if part_end == self._file.size_bytes:
            await self._require_checksum(running)
        part = TransferPart(
            number=old.parts_stored, s3_number=old.next_part, etag=etag, size_bytes=part_end - self._part_start
        )
        async with transaction(self._dependencies.pool) if old.tail_key else connection(self._dependencies.pool) as tx:
            if not await transfers.add_part(tx, old, part, part_end, self._lifetime, more=more):
                raise Superseded
            if old.tail_key is not None:
                await emit(tx, [dropped(self._upload, old.tail_key, "joined")])
        self.transfer = msgspec.structs.replace(
            self.transfer,
            held_bytes=part_end,
            held_by=old.fence,
            parts_stored=old.parts_stored + 1,
            next_part=old.next_part + 1,
            tail_key=None,
            tail_bytes=0,
        )
        self._running = running
        self._dependencies.digests.keep(self.transfer, running)

    async def _set_tail(self, body: DividedBody, end: int) -> None:
        old = self.transfer
        size = end - self._part_start
        key = part_key(self._upload.project_id, old.upload_id, old.number, old.parts_stored, new_attempt())
        await self._dependencies.blobs.put(key, self._with_tail(body, end - old.held_bytes), size)
        async with transaction(self._dependencies.pool) as tx:
            kept = await transfers.set_tail(tx, old, key=key, size_bytes=size, held_bytes=end, lifetime=self._lifetime)
            gone = old.tail_key if kept else key
            if gone is not None:
                await emit(tx, [dropped(self._upload, gone, "joined" if kept else "superseded")])
        if not kept:
            raise Superseded
        self.transfer = msgspec.structs.replace(old, held_bytes=end, tail_key=key, tail_bytes=size)

    async def _with_tail(self, body: DividedBody, fresh_bytes: int) -> AsyncIterator[bytes]:
        if self.transfer.tail_key is not None:
            async with aclosing(self._dependencies.blobs.get(self.transfer.tail_key)) as tail:
                async for chunk in tail:
                    yield chunk
        async with aclosing(body.take(fresh_bytes)) as fresh:
            async for chunk in fresh:
                yield chunk

    async def _begin_multipart(self) -> str:
        multipart_id = await self._dependencies.blobs.begin_multipart(self.transfer.key)
        async with connection(self._dependencies.pool) as tx:
            if not await transfers.set_multipart(tx, self.transfer, multipart_id):
                raise Superseded
        self.transfer = msgspec.structs.replace(self.transfer, multipart_id=multipart_id)
        return multipart_id

    async def _require_checksum(self, running: Hash | None) -> None:
        """Raises: ChecksumMismatch, if the SHA-256 of the whole file is known and another than declared."""
        declared = self.transfer.sha256 or self._file.declared_sha256
        if running is None or declared in (None, running.hexdigest()):
            return
        await discard(self._dependencies, self._upload, self.transfer, reason=ChecksumMismatch.code)
        raise ChecksumMismatch(
            f"File {self._file.path!r}: the {self._file.size_bytes} bytes received have SHA-256 {running.hexdigest()}, "
            f"but {declared} was declared. Nothing of it is kept; send it again from its first byte."
        )
