"""A service that an event kills: run as a process by test_dead_letters."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from libs.bus import Bus, Consumer, Handlers
from libs.config import schema_name
from libs.contracts import Event, UploadAborted
from libs.db import Tx, open_pool

SERVICE = "service"
MAX_DELIVER = 3

handlers = Handlers(SERVICE)


@handlers.on(UploadAborted)
async def die(event: UploadAborted, tx: Tx) -> list[Event]:
    """Like the kernel does where memory runs out: no exception, no farewell."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


async def main(postgres_url: str, nats_url: str, namespace: str) -> None:
    """Consume until killed."""
    async with (
        await open_pool(postgres_url, schema_name(namespace, SERVICE), size=2) as pool,
        Bus.open(nats_url, namespace) as bus,
    ):
        await Consumer(bus, pool, handlers, max_deliver=MAX_DELIVER, ack_wait_s=1).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
