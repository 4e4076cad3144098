"""Damaged archives end in a finding or in files, never in another error, and wherever the pieces are cut."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.archives.errors import BadArchive
from libs.contracts import ArchiveFormat, Finding
from tests.support.tarblocks import END, gnu_long, header, member, pax
from tests.unit.archives.packing import PACK
from tests.unit.archives.unpacked import unpacked

HONEST = (
    header("./", type_=b"5")
    + gnu_long("sub/" + "n" * 120)
    + member("x", b"long")
    + pax(("path", "sub/ü"), ("size", "3"), ("mtime", "1.5"))
    + member("y", b"pax")
    + member("._y", b"litter")
    + member("model.bin", bytes(range(256)) * 5)
    + END
)
ARCHIVES = {archive_format: pack(HONEST) for archive_format, pack in PACK.items()}

Outcome = dict[str, bytes] | tuple[str, str, str]


def outcome(content: bytes, archive_format: ArchiveFormat, piece_bytes: int) -> Outcome:
    """The files, or what refused them."""
    try:
        return unpacked(content, archive_format, piece_bytes=piece_bytes).contents
    except BadArchive as refused:
        finding: Finding = refused.finding
        return finding.rule, finding.sentence(), str(finding.offset_bytes)


@pytest.mark.parametrize("archive_format", list(ARCHIVES))
@given(data=st.data())
def test_same_outcome_for_any_pieces(archive_format: ArchiveFormat, data: st.DataObject) -> None:
    content = bytearray(ARCHIVES[archive_format])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip":
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 600))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "repeat":
                content[at:at] = content[at : at + 512]
        if not content:
            return
    whole = outcome(bytes(content), archive_format, len(content))
    pieces = outcome(bytes(content), archive_format, data.draw(st.integers(1, 700)))
    if archive_format == "tar":
        assert pieces == whole
    else:  # damage that the checksum would find may be met as a wrong header before
        assert pieces == whole or (isinstance(pieces, tuple) and isinstance(whole, tuple))


@given(st.binary(max_size=2000), st.sampled_from(list(ARCHIVES)), st.integers(1, 700))
def test_noise_is_refused(content: bytes, archive_format: ArchiveFormat, piece_bytes: int) -> None:
    assert isinstance(outcome(content, archive_format, piece_bytes), tuple)


@given(st.data())
def test_header_with_a_right_checksum_and_anything_else(data: st.DataObject) -> None:
    """What an attacker would write: every field at will, and the checksum that fits."""
    block = bytearray(member("a", b"12345"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 511))
        field = data.draw(st.binary(min_size=1, max_size=12))
        block[at : min(512, at + len(field))] = field[: 512 - at]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    content = bytes(block) + END
    whole = outcome(content, "tar", len(content))
    assert outcome(content, "tar", data.draw(st.integers(1, 700))) == whole
    if isinstance(whole, dict):  # then Python's own reader sees the same file, or none at all
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                sizes = [file.size for file in archive if file.isfile()]
        except tarfile.ReadError:  # such as a mode that is no number, which is of no interest here
            return
        assert [len(each) for each in whole.values()] == sizes
