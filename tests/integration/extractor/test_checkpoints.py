"""Whoever takes a stream over goes on behind its last stored file."""

from __future__ import annotations

import gzip
import hashlib
import random

import pytest

from libs.contracts import ArchiveRejected, Format
from tests.integration.extractor.harness import Compress, CountingBlobs, Extractor, Upload, tar_of
from tests.support.tarblocks import END, header, member

MB = 1_000_000
MEMBERS = {
    "config.json": b"{}",
    "sub/tokenizer.json": random.Random(1).randbytes(70_000),
    **{f"model-{number}.bin": random.Random(number).randbytes(2 * MB) for number in range(5)},
}
FIRST = 4  # files that the first half of the archive holds whole


async def taken_over(extractor: Extractor, upload: Upload) -> CountingBlobs:
    """A first process stores the first files, ends, and another one does the rest; what that one asked of storage."""
    half = len(upload.pieces) // 2
    async with extractor.working():
        await upload.open()
        await upload.send(range(half))
        await extractor.until_files(FIRST)
        await extractor.until_progress(lambda seen: seen.stream_id == upload.stream.id and seen.parts_done == half)
    await upload.send(range(half, len(upload.pieces)))
    counting = CountingBlobs(extractor.blobs)
    async with extractor.working(blobs=counting):
        assert await extractor.contents(await upload.extracted()) == MEMBERS
    return counting


async def test_plain_tar_goes_on_at_the_last_stored_member(extractor: Extractor) -> None:
    archive = tar_of(MEMBERS)
    upload = extractor.upload(archive, part_bytes=500_000)
    counting = await taken_over(extractor, upload)
    [next_at] = {archive.index(f"model-{FIRST - 2}.bin".encode())}
    assert counting.bytes_read == len(archive) - next_at
    assert len(counting.written) == len(MEMBERS) - FIRST
    assert len(await extractor.objects(upload)) == len(MEMBERS)


@pytest.mark.parametrize(
    ("archive_format", "compress", "declared"),
    [
        ("tar.gz", gzip.compress, False),
        ("tar", bytes, True),
        ("tar.gz", gzip.compress, True),
    ],
)
async def test_others_are_read_again_and_nothing_is_written_twice(
    extractor: Extractor, archive_format: Format, compress: Compress, declared: bool
) -> None:
    """What is compressed has to be inflated again; a declared digest needs every byte of the archive."""
    archive = compress(tar_of(MEMBERS))
    sha256 = hashlib.sha256(archive).hexdigest() if declared else None
    upload = extractor.upload(archive, format=archive_format, part_bytes=500_000, sha256=sha256)
    counting = await taken_over(extractor, upload)
    assert counting.bytes_read == len(archive)
    assert len(counting.written) == len(MEMBERS) - FIRST
    assert len(await extractor.objects(upload)) == len(MEMBERS)


async def test_what_a_process_recorded_before_it_lost_its_stream_is_not_written_again(extractor: Extractor) -> None:
    """It records nothing at its end, as if it were killed: each member was recorded as it was stored."""
    upload = extractor.upload(gzip.compress(tar_of(MEMBERS)), format="tar.gz", part_bytes=500_000)
    await upload.open()
    await upload.send()
    async with extractor.working(extractor.config_with(lease_s=600)):
        await extractor.until_files(FIRST)
        await extractor.pool.execute("UPDATE extraction SET fence = fence + 1, lease_until = now()")
        recorded = await extractor.pool.fetchval("SELECT count(*) FROM extraction_file")
    counting = CountingBlobs(extractor.blobs)
    async with extractor.working(blobs=counting):
        assert await extractor.contents(await upload.extracted()) == MEMBERS
    assert FIRST <= recorded == len(MEMBERS) - len(counting.written)


async def test_checks_of_names_and_what_was_dropped_outlive_the_process(extractor: Extractor) -> None:
    large = random.Random(9).randbytes(2 * MB)
    folder = header("m/sub/", type_=b"5")
    archive = folder + member("m/._junk", b"x") + member("m/a.bin", large) + member("m/b.bin", large)
    upload = extractor.upload(archive + member("m/sub", b"a file now") + END, part_bytes=500_000)
    async with extractor.working():
        await upload.open()
        await upload.send(range(5))
        await extractor.until_files(1)
    async with extractor.working():
        await upload.send(range(5, len(upload.pieces)))
        rejected = await upload.rejected()
    assert rejected.finding.rule == "path-file-and-folder"
    assert rejected.finding.offset_bytes == len(archive)
    assert len(await extractor.emitted(ArchiveRejected)) == 1

    good = extractor.upload(archive + END, part_bytes=500_000)
    async with extractor.working():
        await good.open()
        await good.send(range(5))
        await extractor.until_files(1)
    async with extractor.working():
        await good.send(range(5, len(good.pieces)))
        extracted = await good.extracted()
    assert extracted.dropped == ["m/._junk"]
    assert extracted.stripped_prefix == "m"
    assert await extractor.contents(extracted) == {"a.bin": large, "b.bin": large}
    assert await extractor.pool.fetchval("SELECT count(*) FROM extraction_file") == 0
