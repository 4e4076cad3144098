"""Reports of extractors on their progress: gathered for a second, then written by one statement for all streams."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from libs.contracts import StreamProgress
from libs.db import Pool, connection
from services.gateway.uploads.store import deadlines

SUBJECT = "progress.streams"
WRITE_EVERY_S = 1.0

_decoder = msgspec.json.Decoder(list[StreamProgress])


class Progress:
    """The reports since the last write, one for each stream; several processes may report on one stream."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._latest: dict[str, StreamProgress] = {}

    async def receive(self, body: bytes) -> None:
        """Take in a message: a JSON list of StreamProgress. Raises: msgspec.DecodeError."""
        for report in _decoder.decode(body):
            before = self._latest.get(report.stream_id, report)
            self._latest[report.stream_id] = _furthest(before, report)

    async def write(self) -> None:
        """Write the reports since the last time. Raises: Unavailable; then the next call writes them."""
        reports, self._latest = self._latest, {}
        if not reports:
            return
        ordered = [reports[stream_id] for stream_id in sorted(reports)]
        try:
            async with connection(self._pool) as tx:
                await deadlines.record_progress(tx, ordered, due_at=datetime.now(UTC))
        except BaseException:
            self._latest = reports | self._latest
            raise


def _furthest(one: StreamProgress, other: StreamProgress) -> StreamProgress:
    """The larger of each number: a process that does not read the stream reports only the parts that it knows."""
    return msgspec.structs.replace(
        other,
        parts_known=max(one.parts_known, other.parts_known),
        parts_done=max(one.parts_done, other.parts_done),
        members=max(one.members, other.members),
        bytes_out=max(one.bytes_out, other.bytes_out),
    )
