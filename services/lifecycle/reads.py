"""What clients have read, as other services say: kept out of the cold tier, or brought back from it."""

from __future__ import annotations

import msgspec

from libs.contracts import ObjectsRead
from libs.db import Pool, transaction
from libs.reads import AGAIN_AFTER_S, KEYS_AT_MOST
from libs.signals import notify
from services.lifecycle.config import LifecycleConfig
from services.lifecycle.groups import in_groups
from services.lifecycle.store import moves, objects

WRITE_EVERY_S = 5.0

_decoder = msgspec.json.Decoder(ObjectsRead)


class ReadObjects:
    """Gathers messages for some seconds, then writes them with a statement for each group of keys."""

    def __init__(self, pool: Pool, config: LifecycleConfig) -> None:
        self._pool = pool
        self._config = config
        self._keys: set[str] = set()

    async def receive(self, body: bytes) -> None:
        """Take in a message: ObjectsRead as JSON. Raises: msgspec.DecodeError."""
        keys = _decoder.decode(body).keys
        if len(self._keys) < KEYS_AT_MOST:  # beyond that the database is away; the objects are read again
            self._keys.update(keys)

    async def write(self) -> None:
        """Record when the objects were read, and schedule moves of those in the cold tier.

        Raises: Unavailable; then the next call writes what is left.
        """
        for keys in in_groups(sorted(self._keys)):
            async with transaction(self._pool) as tx:
                cold = await objects.record_reads(tx, keys, again_after_s=AGAIN_AFTER_S)
                if cold and self._config.promote_on_read:
                    await moves.schedule(tx, cold, "hot", reason="read", rest_s=self._config.move_rest_s)
                    await notify(tx, moves.CHANNEL)
            self._keys.difference_update(keys)
