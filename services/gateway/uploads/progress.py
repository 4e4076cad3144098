"""What extractors say of their progress: kept for a second, then written by one statement for all streams."""

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
    """How far each stream is by the reports since the last write; several processes may report on one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._latest: dict[str, StreamProgress] = {}

    async def receive(self, body: bytes) -> None:
        """Take reports in: a JSON list of StreamProgress. Raises: msgspec.DecodeError."""
        for report in _decoder.decode(body):
            before = self._latest.get(report.stream_id, report)
            self._latest[report.stream_id] = _furthest(before, report)

    async def write(self) -> None:
        """Write what came in since the last time. Raises: Unavailable; then it is written the next time."""
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
    """Whoever only heard of a part knows nothing of how far its reader is."""
    return msgspec.structs.replace(
        other,
        parts_known=max(one.parts_known, other.parts_known),
        parts_done=max(one.parts_done, other.parts_done),
        members=max(one.members, other.members),
        bytes_out=max(one.bytes_out, other.bytes_out),
    )
