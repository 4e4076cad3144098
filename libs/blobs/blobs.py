"""The interface of object storage for services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import cached_property

from libs.blobs import copying, listing, multipart
from libs.blobs.address import Address
from libs.blobs.listing import MultipartInfo, ObjectInfo
from libs.blobs.outgoing import SLICE_BYTES, Buffer, collected
from libs.blobs.pools import Sizes
from libs.blobs.reading import find, ranged
from libs.blobs.removal import Removal, remove
from libs.blobs.transport import Refused, Transport
from libs.blobs.writer import Writer
from libs.contracts import Tier
from libs.errors import Unavailable

log = logging.getLogger(__name__)

SINGLE_PUT_BYTES = 5 * 1024**3  # S3's limit for one PUT
STALL_S = 60.0
PING_S = 3.0
DELETES_AT_ONCE = 16


class Blobs:
    """One bucket, or a hot and a cold one. Keys are opaque. An object becomes visible as a whole, or not at all.

    Readers do not know in which of two buckets an object is. What is written or listed is in the hot one; what is
    deleted goes from both. `tiers` gives each as a Blobs of its own.
    """

    def __init__(self, transport: Transport, cold: Transport | None = None) -> None:
        self._transport = transport
        self._cold = cold
        self._transports = (transport,) if cold is None else (transport, cold)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        s3_url: str,
        *,
        cold_url: str | None = None,
        uploads: int = Sizes.uploads,
        downloads: int = Sizes.downloads,
        calls: int = Sizes.calls,
        stall_s: float = STALL_S,
    ) -> AsyncIterator[Blobs]:
        """Connect to `http(s)://ACCESS_KEY:SECRET_KEY@host:port/bucket[?region=us-east-1]`.

        Creates the bucket if it is missing; now if the store answers, else before the first write. A transfer may take
        as long as it likes, but not pause for `stall_s`. `uploads`, `downloads` and `calls` are how many bodies go to
        the store at a time, come from it, and how many small requests there are; one more waits for some seconds, then
        is Overloaded (an Unavailable). `cold_url` is the bucket of the cold tier, on the same server or another one.
        Raises: ValueError for a URL of another form.
        """
        sizes = Sizes(uploads, downloads, calls)
        addresses = [Address.parse(url) for url in (s3_url, cold_url) if url is not None]
        async with AsyncExitStack() as stack:
            transports = [
                await stack.enter_async_context(Transport.to(address, sizes, stall_s=stall_s)) for address in addresses
            ]
            blobs = cls(*transports)
            if not await blobs.ping():
                log.warning("object storage does not answer yet; starting without it")
            yield blobs

    @cached_property
    def tiers(self) -> Mapping[Tier, Blobs]:
        """Each tier as a bucket of its own; only "hot" where there is no cold one."""
        hot: Mapping[Tier, Blobs] = {"hot": self if self._cold is None else Blobs(self._transport)}
        return hot if self._cold is None else {**hot, "cold": Blobs(self._cold)}

    async def put(self, key: str, body: AsyncIterable[Buffer], size_bytes: int | None) -> None:
        """Store a body while it arrives, in about 2 MiB of memory (two parts if it is above 5 GiB or of unknown size).

        An error of `body` comes out as it is. After an error nothing new is under the key: the last bytes are sent only
        after `body` has ended well, and the store shows no object that is not whole. Only after an Unavailable one
        cannot know: the answer may be what was lost.
        Raises: Unavailable; Invalid if the body is not of `size_bytes`; whatever the body raises.
        """
        if size_bytes is None or size_bytes > SINGLE_PUT_BYTES:
            async with self.writer(key, size_bytes) as writer:
                async for chunk in body:
                    await writer.write(chunk)
        elif size_bytes <= SLICE_BYTES:
            await self.put_bytes(key, await collected(body, size_bytes))  # small enough to be sent repeatedly
        else:
            await self._transport.stream("PUT", key, {}, body, size_bytes)

    async def put_bytes(self, key: str, content: Buffer) -> None:
        """Store `content`, retrying for some seconds.

        Raises: Unavailable.
        """
        await self._transport.call("PUT", key, body=content)

    @asynccontextmanager
    async def writer(self, key: str, size_bytes: int | None) -> AsyncIterator[Writer]:
        """Store the bytes written in the block; the object is visible after the block, unless an error ends it.

        `size_bytes`, where it is known, is checked, and chooses the size of the parts: objects of up to 16 MiB are one
        request, above 156 GiB parts grow beyond 16 MiB.
        Raises: Unavailable; Invalid if what was written is not of `size_bytes`.
        """
        writer = Writer(self._transport, key, size_bytes)
        try:
            yield writer
            await writer.close()
        except BaseException:
            await writer.abort()
            raise

    async def begin_multipart(self, key: str) -> str:
        """Begin an object that consists of parts, stored in any order by any process. Returns the id of the upload.

        Nothing is visible under the key before `complete_multipart`. Every part but the last has `MIN_PART_BYTES` at
        least, and all but the last are of one size where the object store is to be R2; `part_bytes` gives one that
        fits. Whoever gives up calls `abort_multipart`: the store keeps the parts until then.
        Raises: Unavailable.
        """
        return await multipart.begin(self._transport, key)

    async def put_part(
        self, key: str, upload_id: str, number: int, body: AsyncIterable[Buffer], size_bytes: int
    ) -> str:
        """Store part `number` (1 to `MAX_PARTS`) while it arrives, as `put` does. Returns its entity tag.

        A part that was there is replaced. After an error it is as before; after an Unavailable one cannot know.
        Raises: MultipartGone; Unavailable; Invalid if the body is not of `size_bytes`; whatever the body raises.
        """
        return await multipart.put_part(self._transport, key, upload_id, number, body, size_bytes)

    async def put_part_bytes(self, key: str, upload_id: str, number: int, content: Buffer) -> str:
        """Store part `number` (1 to `MAX_PARTS`), retrying as `put_bytes` does. Returns its entity tag.

        Raises: MultipartGone; Unavailable.
        """
        return await multipart.put_part_bytes(self._transport, key, upload_id, number, content)

    async def complete_multipart(
        self, key: str, upload_id: str, etags: Sequence[tuple[int, str]], size_bytes: int
    ) -> None:
        """Make the object of `size_bytes` visible: its parts by number and entity tag, in any order.

        Safe to repeat: where the store does not know the upload any more, an object of that size is what it became.
        Raises: MultipartGone, if there is none; Unavailable (also for a part that is not there or too small).
        """
        await multipart.complete(self._transport, key, upload_id, etags, size_bytes)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        """Discard a multipart upload and its parts. Does nothing if the store does not know it.

        Raises: Unavailable.
        """
        await multipart.abort(self._transport, key, upload_id)

    async def copy(self, source_key: str, key: str, size_bytes: int, *, source_bucket: str | None = None) -> None:
        """Have the store copy an object of `size_bytes` to `key`: no byte of it comes this way.

        `source_bucket`: of the same server, which the same credentials may read; this one if None. Objects above 1 GiB
        are copied in parts, some at a time. Repeating it is safe; nothing is visible under `key` before it is whole.
        Raises: ObjectNotFound; Invalid if the source is of another size; Unavailable, also where the source was
        replaced meanwhile: then `key` may hold an object of another size.
        """
        source = self._transport if source_bucket is None else self._transport.of_bucket(source_bucket)
        await copying.copy(source, source_key, self._transport, key, size_bytes)

    async def copy_from(self, source: Blobs, key: str, size_bytes: int) -> bool:
        """Have the store copy an object of another bucket to the same key here, as `copy` does.

        Returns False where it cannot: the buckets are on two servers, or the server does not copy.
        Raises: ObjectNotFound; Invalid if the source is of another size; Unavailable.
        """
        if not self._transport.address.is_beside(source._transport.address):
            return False
        try:
            await copying.copy(source._transport, key, self._transport, key, size_bytes)
        except Refused as refused:
            if refused.status not in (400, 403, 405, 501):
                raise
            log.info("%s The object is copied byte by byte.", refused)
            return False
        return True

    def get(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from `start`, `length` of them or all; fewer if the object ends before.

        A broken connection is opened again at the offset reached, never on another version of the object. Whoever stops
        early closes it (`contextlib.aclosing`), else the connection stays open until it is collected as garbage.
        Raises: ObjectNotFound; Unavailable.
        """
        return ranged(self._transports, key, start, length)

    async def read(self, key: str, start: int, length: int) -> bytes:
        """Read a range into memory; it is shorter if the object ends before.

        Raises: ObjectNotFound; Unavailable.
        """
        async with aclosing(self.get(key, start, length)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object; None if there is none under the key.

        Raises: Unavailable.
        """
        return await find(self._transports, key)

    async def list(self, prefix: str = "", *, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
        """Yield the objects with this prefix and a key above `after`, in order of keys, from pages of up to 1,000.

        Raises: Unavailable.
        """
        query = {"list-type": "2", "prefix": prefix}
        if after:
            query["start-after"] = after
        while True:
            found, token = listing.objects((await self._transport.call("GET", None, query)).body)
            for info in found:
                if info.key > after:  # not every server supports start-after
                    yield info
            if token is None:
                return
            query["continuation-token"] = token

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; keys without an object are ignored.

        One request each, some at a time: DeleteObjects wants an MD5 here, a checksum there, and is missing elsewhere.
        Raises: Unavailable; then some may be gone and some not.
        """
        left = iter(keys)

        async def work() -> None:
            for key in left:
                await self._delete(key)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(DELETES_AT_ONCE):
                    group.create_task(work())
        except* Unavailable as troubles:
            trouble = troubles
        else:
            return
        raise Unavailable(str(trouble.exceptions[0])) from trouble

    async def _delete(self, key: str) -> None:
        for transport in self._transports:
            try:
                await transport.call("DELETE", key)
            except Refused as refused:
                if refused.status != 404:
                    raise

    def removal(self, key: str, *, valid_s: int) -> Removal:
        """The deletion of an object, to be sent with `remove` within `valid_s` seconds; later the store refuses it.

        For whoever makes sure that the object may go after asking for this: however long the process is paused between
        that and `remove`, nothing is deleted that was stored under the key much later. Of one tier only.
        """
        return Removal(key, self._transport.address.sign("DELETE", key, {}, valid_s))

    async def remove(self, removal: Removal) -> None:
        """Delete an object; nothing if there is none.

        Raises: Unavailable, also where the time is over.
        """
        await remove(self._transport, removal)

    async def abort_multiparts(self, prefix: str, *, only: Collection[str] | None = None) -> int:
        """Abort every multipart upload under the prefix; with `only`, of those objects.

        Returns how many; 0 if the server does not list them. Raises: Unavailable.
        """
        return sum([await multipart.abort_all(each, prefix, only=only) for each in self._transports])

    def multiparts(self, prefix: str = "") -> AsyncGenerator[MultipartInfo, None]:
        """Yield the multipart uploads under the prefix that are under way; none if the server does not list them.

        Raises: Unavailable.
        """
        return multipart.listed(self._transport, prefix)

    def presign(self, method: str, key: str, expires_s: int, *, origin: str | None = None) -> str:
        """A URL by which anyone may do `method` to the object for `expires_s` (at most seven days).

        `origin`: scheme://host[:port] by which others reach the server, if that is not the one of these connections.
        """
        address = self._transport.address
        return (address if origin is None else address.reached_at(origin)).sign(method, key, {}, expires_s)

    async def ping(self) -> bool:
        """Whether the store answers and has the bucket, which is created if it is missing."""
        try:
            async with asyncio.timeout(PING_S):
                await self._transport.find_bucket()
        except (Unavailable, TimeoutError):
            return False
        return True
