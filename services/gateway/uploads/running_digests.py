"""The running SHA-256 of files that are sent in several requests, where this process saw all of their bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from services.gateway.uploads.store.transfers import Transfer

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

KEPT = 4096  # files; some 300 bytes each


class _Kept(msgspec.Struct, frozen=True):
    parts: int
    fence: int  # under which the last of those parts was recorded
    hash: object


class RunningDigests:
    """The digests, by the key of the object that each file becomes; the least recently used ones are forgotten."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._most = kept

    def find(self, transfer: Transfer) -> Hash | None:
        """The hash of all whole parts that are held; None if another process recorded any of them."""
        if transfer.parts_stored == 0:
            return hashlib.sha256()
        kept = self._kept.get(transfer.key)
        if kept is None or (kept.parts, kept.fence) != (transfer.parts_stored, transfer.held_by):
            return None
        self._kept.move_to_end(transfer.key)
        found: Hash = kept.hash  # type: ignore[assignment]  # hashlib names no type of its own at run time
        return found

    def keep(self, transfer: Transfer, running: Hash | None) -> None:
        """Remember the hash of the parts that `transfer` holds now."""
        if running is None:
            return
        self._kept[transfer.key] = _Kept(transfer.parts_stored, transfer.held_by, running)
        self._kept.move_to_end(transfer.key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget the digest of a file that is whole, or starts again."""
        self._kept.pop(key, None)
