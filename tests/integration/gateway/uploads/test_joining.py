"""The reservation of joining a file's parts: one that has expired is not mistaken for the next one."""

from __future__ import annotations

from datetime import datetime

from libs.db import connection
from services.gateway.uploads.store import transfers
from services.gateway.uploads.store.transfers import Transfer
from tests.support.fixtures import PoolFor

TRANSFER = Transfer(
    upload_id="u",
    number=0,
    key="key",
    multipart_id="m",
    part_count=None,
    part_bytes=1,
    parts_stored=1,
    held_bytes=1,
    held_by=1,
    next_part=2,
    fence=1,
    tail_key=None,
    tail_bytes=0,
    sha256=None,
)


async def test_a_request_that_took_too_long_does_not_end_the_reservation_of_the_next(pool_for: PoolFor) -> None:
    async with connection(await pool_for("gateway")) as tx:
        assert await transfers.begin_joining(tx, TRANSFER, 60) == "ended"
        await tx.execute("ALTER TABLE upload_transfer DROP CONSTRAINT upload_transfer_upload_id_number_fkey")
        await tx.execute("INSERT INTO upload_transfer (upload_id, number, key, part_bytes) VALUES ('u', 0, 'key', 1)")

        slow = await transfers.begin_joining(tx, TRANSFER, 0)
        second = await transfers.begin_joining(tx, TRANSFER, 60)
        assert isinstance(slow, datetime)
        assert isinstance(second, datetime)
        await transfers.end_joining(tx, TRANSFER, slow)
        assert await transfers.begin_joining(tx, TRANSFER, 60) == "taken"
        await transfers.end_joining(tx, TRANSFER, second)
        assert isinstance(await transfers.begin_joining(tx, TRANSFER, 60), datetime)
