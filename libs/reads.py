"""Tells lifecycle which objects clients read, by plain NATS: what nobody reads moves to the cold tier."""

from __future__ import annotations

import time

import msgspec

from libs.bus import Bus
from libs.contracts import ObjectsRead

SUBJECT = "objects.read"
PUBLISH_EVERY_S = 5.0
AGAIN_AFTER_S = 3600.0  # one object is named so often by one process
KEYS_AT_ONCE = 500  # in one message: of at most 1,024 bytes each
KEYS_AT_MOST = 100_000  # between two messages, and remembered; what is beyond is told at its next read


class Reads:
    """The objects that this process has read since it last said so, each once an hour."""

    def __init__(self, *, wanted: bool = True) -> None:
        """`wanted`: whether there is a cold tier; else nothing is remembered."""
        self._wanted = wanted
        self._new: set[str] = set()
        self._told: dict[str, float] = {}  # when, on the monotonic clock; the longest ago first

    def note(self, key: str) -> None:
        """An object is read for a client. Reads of our own, such as validations, do not count."""
        if self._wanted and key not in self._told and len(self._new) < KEYS_AT_MOST:
            self._new.add(key)

    async def publish(self, bus: Bus) -> None:
        """Send what is new, in few messages. They may get lost."""
        now = time.monotonic()
        new, self._new = sorted(self._new), set()
        for key, told_at in list(self._told.items()):
            if now - told_at < AGAIN_AFTER_S and len(self._told) + len(new) <= KEYS_AT_MOST:
                break
            del self._told[key]
        self._told.update(dict.fromkeys(new, now))
        for at in range(0, len(new), KEYS_AT_ONCE):
            await bus.send(SUBJECT, msgspec.json.encode(ObjectsRead(keys=new[at : at + KEYS_AT_ONCE])))
