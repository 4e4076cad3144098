"""Deletions that expire: signed before somebody makes sure that the object may go, sent afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.blobs.transport import Refused, Transport


@dataclass(frozen=True)
class Removal:
    """The deletion of one object. The store refuses it after its time."""

    key: str
    url: str = field(repr=False)  # signed: anyone who has it may send it


async def remove(transport: Transport, removal: Removal) -> None:
    """Delete an object; nothing if there is none.

    Raises: Unavailable (Refused, with 403, where the time is over).
    """
    try:
        await transport.call_signed("DELETE", removal.key, removal.url)
    except Refused as refused:
        if refused.status != 404:
            raise
