"""Which streams are read in this process: their readers are signalled without a NOTIFY of Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from libs.signals import Subscription

_readers: dict[tuple[str, str], Subscription] = {}  # by the lease's owner and the stream's id


@contextmanager
def reading(owner: str, stream_id: str, subscription: Subscription) -> Iterator[None]:
    """Register the reader of a stream, under a lease of `owner`, until the block ends."""
    _readers[owner, stream_id] = subscription
    try:
        yield
    finally:
        if _readers.get((owner, stream_id)) is subscription:
            del _readers[owner, stream_id]


def reader(owner: str, stream_id: str) -> Subscription | None:
    """The subscription to signal when more of the stream can be read; None if this process does not read it."""
    return _readers.get((owner, stream_id))
