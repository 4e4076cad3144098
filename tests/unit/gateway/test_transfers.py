"""How files are cut into parts: as S3 allows it, whatever their size."""

from __future__ import annotations

import hashlib

import pytest

from libs.blobs import MAX_PARTS
from services.gateway.uploads.incoming.chunks import equal_cut
from services.gateway.uploads.incoming.digests import RunningDigests
from services.gateway.uploads.incoming.transfers import part_bytes
from services.gateway.uploads.store.transfers import Transfer

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [1, 8 * MIB, 70 * 1024 * MIB, 81 * 1024 * MIB, 2 * 1024**4])
def test_a_tenth_of_the_part_numbers_is_left_for_requests_that_broke_off(size: int):
    assert part_bytes(size) >= 16 * MIB
    assert -(-size // part_bytes(size)) <= MAX_PARTS * 9 // 10


@pytest.mark.parametrize(
    ("size", "number", "count", "total", "expected"),
    [
        (6 * MIB, 0, 4, 23 * MIB, 6 * MIB),
        (5 * MIB, 3, 4, 23 * MIB, 6 * MIB),  # the last one tells the size of the others
        (5 * MIB, 3, 4, 23 * MIB + 1, None),  # which is not whole
        (4 * MIB, 0, 4, 16 * MIB, None),  # too small for S3
        (12 * MIB, 0, 4, 23 * MIB, None),  # too large for an equal cut
        (None, 0, 4, 23 * MIB, None),
        (6 * MIB, 0, 9000, 9000 * 6 * MIB, None),  # no number is left to send one again
    ],
)
def test_an_equal_cut_is_told_from_its_first_chunk(size, number, count, total, expected):
    assert equal_cut(size, number, count, total) == expected


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


def test_a_digest_is_gone_on_with_only_where_nobody_else_recorded_a_part():
    digests = RunningDigests(kept=2)
    digests.keep(transfer("a", 1, 3), hashlib.sha256(b"part"))
    found = digests.find(transfer("a", 1, 3))
    assert found is not None
    assert found.hexdigest() == hashlib.sha256(b"part").hexdigest()
    assert digests.find(transfer("a", 2, 4)) is None  # another process added one
    assert digests.find(transfer("a", 1, 5)) is None  # the same number of parts, but another's
    assert digests.find(transfer("b", 0, 0)) is not None  # nothing to have missed


def test_what_is_used_least_is_forgotten():
    digests = RunningDigests(kept=2)
    for key in "abc":
        digests.keep(transfer(key, 1, 1), hashlib.sha256())
    assert [digests.find(transfer(key, 1, 1)) is None for key in "abc"] == [True, False, False]
