"""Extractions of files in other stores: nothing of them arrives here, and what they are read with may change."""

from __future__ import annotations

import msgspec

from libs.contracts import PartStream
from libs.db import Tx
from libs.states import sql_in
from services.extractor import states


class Fetchable(msgspec.Struct, frozen=True, kw_only=True):
    """The extraction of a file in another store, which is under way."""

    fetchable: bool  # it can be claimed, now or after its pause
    parked: bool
    same: bool  # as the stream says


async def fetch(tx: Tx, stream: PartStream) -> Fetchable | None:
    """Have a file be read as `stream` says, at once if that is new. Returns None if it is not under way.

    Needs `lock_upload`.
    """
    row = await tx.fetchrow(
        f"""
        SELECT fetchable, state = '{states.PARKED}' AS parked, stream -> 'remote' = $2::jsonb AS same
          FROM extraction WHERE stream_id = $1 AND state {sql_in(states.UNDER_WAY)} FOR NO KEY UPDATE
        """,
        stream.id,
        stream.remote,
    )
    if row is None:
        return None
    if not row["same"]:
        await tx.execute(
            "UPDATE extraction SET stream = $2, not_before = now(), attempts = 0 WHERE stream_id = $1",
            stream.id,
            stream,
        )
    return Fetchable(**row)
