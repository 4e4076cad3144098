"""The SHA-256 of a file goes on from request to request only where this process saw all of its bytes."""

from __future__ import annotations

import hashlib

from services.gateway.uploads.running_digests import RunningDigests
from services.gateway.uploads.store.transfers import Transfer

MIB = 1024 * 1024


def transfer(key: str, parts: int, held_by: int) -> Transfer:
    return Transfer(
        upload_id="u",
        number=0,
        key=key,
        multipart_id="m",
        part_count=None,
        part_bytes=8 * MIB,
        parts_stored=parts,
        held_bytes=parts * 8 * MIB,
        held_by=held_by,
        next_part=parts + 1,
        fence=held_by,
        tail_key=None,
        tail_bytes=0,
        sha256=None,
    )


def test_a_digest_is_gone_on_with_only_where_nobody_else_recorded_a_part() -> None:
    digests = RunningDigests(kept=2)
    digests.keep(transfer("a", 1, 3), hashlib.sha256(b"part"))
    found = digests.find(transfer("a", 1, 3))
    assert found is not None
    assert found.hexdigest() == hashlib.sha256(b"part").hexdigest()
    assert digests.find(transfer("a", 2, 4)) is None  # another process added one
    assert digests.find(transfer("a", 1, 5)) is None  # the same number of parts, but another's
    assert digests.find(transfer("b", 0, 0)) is not None  # nothing to have missed


def test_what_is_used_least_is_forgotten() -> None:
    digests = RunningDigests(kept=2)
    for key in "abc":
        digests.keep(transfer(key, 1, 1), hashlib.sha256())
    assert [digests.find(transfer(key, 1, 1)) is None for key in "abc"] == [True, False, False]
