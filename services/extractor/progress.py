"""Progress of streams, published over plain NATS without the outbox; messages may be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from libs.bus import Bus
from libs.contracts import StreamProgress

SUBJECT = "progress.streams"
STREAMS_AT_ONCE = 1000  # in one message, which NATS limits to 1 MiB


class Progress:
    """Collects the progress of all streams of this process, from its handlers and its attempts."""

    def __init__(self) -> None:
        self._known: dict[str, StreamProgress] = {}  # streams with more parts since the last message; by id
        self._attempts: dict[str, Callable[[], StreamProgress]] = {}
        self._sent: dict[str, StreamProgress] = {}  # the last message of each attempt

    def parts_known(self, upload_id: str, stream_id: str, parts_known: int) -> None:
        """Note how many of the stream's parts are in storage, whether or not it is being read."""
        self._known[stream_id] = StreamProgress(
            upload_id=upload_id, stream_id=stream_id, parts_known=parts_known, parts_done=0, members=0, bytes_out=0
        )

    @contextmanager
    def attempt(self, stream_id: str, look: Callable[[], StreamProgress]) -> Iterator[None]:
        """Call `look` for the stream's progress until the block ends."""
        self._attempts[stream_id] = look
        try:
            yield
        finally:
            if self._attempts.get(stream_id) is look:
                del self._attempts[stream_id]
            self._sent.pop(stream_id, None)

    def changed(self) -> list[StreamProgress]:
        """The progress of every stream that has advanced since the last call."""
        known, self._known = self._known, {}
        for stream_id, look in self._attempts.items():
            now = look()
            if (more := known.pop(stream_id, None)) is not None:
                now = msgspec.structs.replace(now, parts_known=max(now.parts_known, more.parts_known))
            if now != self._sent.get(stream_id):
                self._sent[stream_id] = known[stream_id] = now
        return list(known.values())

    async def publish(self, bus: Bus) -> None:
        """Send the progress that has changed, in few messages."""
        changed = self.changed()
        for at in range(0, len(changed), STREAMS_AT_ONCE):
            await bus.send(SUBJECT, msgspec.json.encode(changed[at : at + STREAMS_AT_ONCE]))


progress = Progress()
