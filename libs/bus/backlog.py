"""The consumers that the broker knows, and how many messages wait for each; also of services that do not run."""

from __future__ import annotations

import msgspec

from libs.bus.session import Session
from libs.bus.streams import stream_name


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """One service's consumer of events."""

    service: str
    waiting: int  # events that were not delivered to it
    in_progress: int  # events delivered, and not answered


async def backlogs(session: Session) -> list[Backlog]:
    """Every consumer of events, by name. Raises: nats.errors.Error."""
    known = await session.js.consumers_info(stream_name(session.namespace, "EVENTS"))
    prefix = stream_name(session.namespace, "")
    found = [
        Backlog(
            service=each.name.removeprefix(prefix), waiting=each.num_pending or 0, in_progress=each.num_ack_pending or 0
        )
        for each in known
    ]
    return sorted(found, key=lambda each: each.service)
