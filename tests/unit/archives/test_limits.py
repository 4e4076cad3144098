"""Bombs cost neither memory nor time, and what was declared is verified."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc

import pytest

from libs.archives.decompress import CODECS
from libs.archives.errors import BadArchive
from libs.archives.limits import MIB, ArchiveLimits, PathLimits
from libs.archives.tar import Content
from libs.archives.unpack import STEP_BYTES, join_parts, unpack_archive
from libs.contracts import ArchiveFormat
from tests.support.tarblocks import END, header, member, padded
from tests.unit.archives.packing import PACK
from tests.unit.archives.unpacked import drained, unpacked

pytestmark = pytest.mark.slow  # decompresses much

LIMITS = ArchiveLimits(ratio_free_bytes=4 * MIB)
ZEROS = 64 * MIB


def of_zeros(size_bytes: int) -> bytes:
    return header("zeros.bin", size_bytes) + bytes(size_bytes) + END


@pytest.mark.parametrize("archive_format", [name for name in PACK if CODECS[name]])
def test_bomb_is_refused_in_little_memory(archive_format: ArchiveFormat) -> None:
    bomb = PACK[archive_format](of_zeros(ZEROS))
    tracemalloc.start()
    try:
        with pytest.raises(BadArchive) as refused:
            unpacked_and_thrown_away(bomb, archive_format)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.finding.rule == "archive-bomb"
    assert "20 times" in refused.value.finding.message
    assert peak_bytes < 8 * MIB


def unpacked_and_thrown_away(content: bytes, archive_format: ArchiveFormat) -> None:
    unpacker = unpack_archive(archive_format, LIMITS)
    unpacker.feed(content)
    while not unpacker.needs_input:
        unpacker.step()
    unpacker.close()


def test_bomb_in_the_padding_is_refused_too() -> None:
    with pytest.raises(BadArchive) as refused:
        unpacked(gzip.compress(member() + END + bytes(ZEROS)), "tar.gz", limits=LIMITS)
    assert refused.value.finding.rule == "archive-bomb"


def test_little_text_may_compress_well() -> None:
    files = unpacked(gzip.compress(of_zeros(3 * MIB)), "tar.gz", limits=LIMITS)
    assert len(files.contents["zeros.bin"]) == 3 * MIB


def test_a_step_is_bounded() -> None:
    unpacker = unpack_archive("tar.gz", ArchiveLimits())
    unpacker.feed(gzip.compress(of_zeros(ZEROS)))
    largest = 0
    while not unpacker.needs_input:
        events = unpacker.step()
        largest = max(largest, sum(len(getattr(event, "view", b"")) for event in events))
    assert largest <= STEP_BYTES + MIB


def test_size_is_refused_by_the_header_before_any_content() -> None:
    with pytest.raises(BadArchive) as refused:
        unpacked(header("big.bin", 1001), limits=ArchiveLimits(max_bytes_out=1000))
    assert refused.value.finding.rule == "archive-too-large"
    assert "1000" in refused.value.finding.message


def test_member_beyond_the_end_is_refused_by_its_header() -> None:
    archive = member("a") + header("b.bin", 5000) + bytes(1000)
    unpacker = unpack_archive("tar", ArchiveLimits(), size_bytes=len(archive))
    unpacker.feed(archive[:1536])
    with pytest.raises(BadArchive) as refused:
        unpacker.step()
    assert refused.value.finding.rule == "tar-truncated"
    assert refused.value.finding.file == "b.bin"


def test_limits_on_paths_can_be_set() -> None:
    with pytest.raises(BadArchive) as refused:
        unpacked(member("a") + member("b") + END, limits=ArchiveLimits(paths=PathLimits(max_files=1)))
    assert refused.value.finding.rule == "path-too-many"


@pytest.mark.parametrize("archive_format", PACK)
def test_declared_checksum_of_the_archive_is_verified(archive_format: ArchiveFormat) -> None:
    content = PACK[archive_format](member() + END)
    right = hashlib.sha256(content).hexdigest()
    assert unpacked(content, archive_format, sha256=right, piece_bytes=100).contents
    with pytest.raises(BadArchive) as refused:
        unpacked(content, archive_format, sha256="0" * 64)
    assert refused.value.finding.rule == "archive-checksum"
    assert right in refused.value.finding.message


@pytest.mark.parametrize("size_bytes", [0, 1, 3 * MIB])
def test_parts_of_one_file_are_joined(size_bytes: int) -> None:
    content = bytes(size_bytes)
    assert drained(join_parts("a/b.bin", size_bytes), content, 1000).contents == {"a/b.bin": content}


@pytest.mark.parametrize(("announced", "comparison"), [(9, "more"), (11, "fewer")])
def test_joined_file_of_another_size_is_refused(announced: int, comparison: str) -> None:
    with pytest.raises(BadArchive) as refused:
        drained(join_parts("a.bin", announced), bytes(10), 4)
    assert refused.value.finding.rule == "file-wrong-size"
    assert comparison in refused.value.finding.message


def test_content_is_handed_on_without_a_copy() -> None:
    """Views of the caller's bytes: a member of any size passes in constant memory."""
    unpacker = unpack_archive("tar", ArchiveLimits())
    archive = header("a", 1000) + padded(b"x" * 1000)
    unpacker.feed(archive)
    [_, data, _] = unpacker.step()
    assert isinstance(data, Content)
    assert data.view.obj is archive
