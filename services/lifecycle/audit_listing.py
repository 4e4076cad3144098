"""What is in storage, of all tiers together, in order of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from datetime import datetime

import msgspec

from libs.blobs import Blobs, ObjectInfo
from libs.contracts import Tier


class Stored(msgspec.Struct, frozen=True):
    """A key, and where there is an object under it."""

    key: str
    copies: dict[Tier, ObjectInfo]

    @property
    def tier(self) -> Tier:
        """Where readers find it."""
        return "hot" if "hot" in self.copies else "cold"

    @property
    def size_bytes(self) -> int:
        """Of what readers find."""
        return self.copies[self.tier].size_bytes

    @property
    def modified_at(self) -> datetime:
        """When the last copy was stored (UTC)."""
        return max(copy.modified_at for copy in self.copies.values())


async def stored_objects(blobs: Blobs, *, after: str) -> AsyncGenerator[Stored, None]:
    """Yield what is stored under keys above `after`.

    An object that is being moved while this goes on may be listed in one tier, in both, or in neither.
    Raises: Unavailable.
    """
    async with AsyncExitStack() as stack:
        streams = {
            tier: await stack.enter_async_context(aclosing(bucket.list(after=after)))
            for tier, bucket in blobs.tiers.items()
        }
        next_of = {tier: await anext(stream, None) for tier, stream in streams.items()}
        while waiting := {tier: info for tier, info in next_of.items() if info is not None}:
            key = min(info.key for info in waiting.values())
            copies = {tier: info for tier, info in waiting.items() if info.key == key}
            yield Stored(key, copies)
            for tier in copies:
                next_of[tier] = await anext(streams[tier], None)
