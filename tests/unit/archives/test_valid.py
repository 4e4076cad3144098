"""What usual tools write is read as they meant it: the same files and bytes as `tarfile` finds."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.archives.decompress import CODECS
from libs.contracts import ArchiveFormat
from tests.support.tarblocks import END, gnu_long, header, member, padded, pax
from tests.unit.archives.packing import PACK
from tests.unit.archives.unpacked import unpacked

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
# A digit at the front keeps names from colliding, and from being litter.
NAMES = st.text("abcdef AB.-_üé中", min_size=1, max_size=120)
CONTENTS = st.one_of(st.binary(max_size=50), st.sampled_from([511, 512, 513, 1024, 70_000]).map(bytes))


def written(files: dict[str, bytes], tar_format: int, *, folders: tuple[str, ...] = ()) -> bytes:
    """The archive that Python writes of these files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tar_format) as archive:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))
    return target.getvalue()


def read_by_tarfile(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {file.name: read.read() for file in archive if (read := archive.extractfile(file))}


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Archives by Python in one of its three formats, of files at different depths."""
    tar_format = draw(st.sampled_from(FORMATS))
    longest = 90 if tar_format == tarfile.USTAR_FORMAT else 250
    files = {}
    for number, (folders, name) in enumerate(draw(st.lists(st.tuples(st.integers(0, 3), NAMES), max_size=8))):
        plain = name.encode()[: longest - 10].decode(errors="ignore")
        path = "/".join([f"d{depth}" for depth in range(folders)] + [f"{number}{plain}x"])
        files[path] = draw(CONTENTS)
    files["config.json"] = b"{}"
    return written(files, tar_format)


@given(
    archives(),
    st.sampled_from([1, 3, 100, 511, 512, 513, 10_000, 10**9]),
    st.sampled_from(list(PACK)),
)
def test_same_files_as_tarfile(content: bytes, piece_bytes: int, archive_format: ArchiveFormat) -> None:
    files = unpacked(PACK[archive_format](content), archive_format, piece_bytes=piece_bytes)
    assert files.contents == read_by_tarfile(content)


@given(st.binary(min_size=0, max_size=3000), st.lists(st.integers(0, 10**6), max_size=3), st.integers(1, 300))
def test_joined_streams_are_one_archive(noise: bytes, cuts: list[int], piece_bytes: int) -> None:
    """`cat a.gz b.gz` is gzip, and likewise for bzip2; zeros may follow."""
    content = written({"noise": noise}, tarfile.PAX_FORMAT)
    bounds = [0, *sorted(cut % len(content) for cut in cuts), len(content)]
    pieces = [content[a:b] for a, b in pairwise(bounds)]
    for archive_format, pack in PACK.items():
        if CODECS[archive_format]:
            joined = b"".join(map(pack, pieces)) + bytes(100)
            assert unpacked(joined, archive_format, piece_bytes=piece_bytes).contents == {"noise": noise}


@pytest.mark.parametrize("piece_bytes", [1, 2, 5, 13, 10**6])
@pytest.mark.parametrize("flags", range(0, 32, 2))
def test_gzip_headers_with_every_field(flags: int, piece_bytes: int) -> None:
    content = written({"a": b"b" * 5000}, tarfile.PAX_FORMAT)
    start = b"\x1f\x8b\x08" + bytes([flags]) + b"\1\2\3\4\0\3"
    start += b"\5\0extra" * bool(flags & 4) + b"name\0" * bool(flags & 8) + b"comment\0" * bool(flags & 16)
    if flags & 2:
        start += (zlib.crc32(start) & 0xFFFF).to_bytes(2, "little")
    deflate = zlib.compressobj(wbits=-15)
    one = start + deflate.compress(content) + deflate.flush()
    one += zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    assert unpacked(one, "tar.gz", piece_bytes=piece_bytes).contents == {"a": b"b" * 5000}


@pytest.mark.parametrize("tool_format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_gnu_tar(tool_format: str, tmp_path: Path) -> None:
    """As in the documents: `tar -chf - -C FOLDER .`, links followed, folders as members."""
    if shutil.which("tar") is None:
        pytest.skip("no tar on this machine")
    folder = tmp_path / "snapshot"
    (folder / "1_Pooling").mkdir(parents=True)
    (tmp_path / "blob").write_bytes(bytes(range(256)) * 100)
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    (folder / "1_Pooling" / "config.json").write_bytes(b"{}")
    if tool_format not in ("v7", "ustar"):
        (folder / ("long" * 40)).write_bytes(b"long")
    command = ["tar", f"--format={tool_format}", "-chf", "-", "-C", str(folder), "."]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    found = unpacked(content, piece_bytes=1000).contents
    assert found == {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_litter_of_macos_is_dropped_and_told() -> None:
    content = (
        member("./._config.json", b"AppleDouble")
        + member("./config.json")
        + member("sub/.DS_Store", b"x" * 700)
        + header("__MACOSX/", type_=b"5")
        + member("__MACOSX/sub/._a", b"y")
        + END
    )
    files = unpacked(content)
    assert files.contents == {"config.json": b"{}"}
    assert files.dropped == ["._config.json", "sub/.DS_Store", "__MACOSX/sub/._a"]


def test_extended_attributes_are_ignored() -> None:
    """bsdtar on macOS writes them, Docker and git write global headers."""
    content = (
        pax(("comment", "a" * 40), type_=b"g")
        + pax(("SCHILY.xattr.com.apple.quarantine", b"\x00\xff\n=binary"), ("LIBARCHIVE.creationtime", "1.5"))
        + member("config.json")
        + END
    )
    assert unpacked(content).contents == {"config.json": b"{}"}


def test_pax_size_and_path_override_the_header() -> None:
    """As the standard says; readers that skip by the header's size see other members here."""
    inner = member("smuggled", b"evil")
    content = pax(("size", str(len(inner))), ("path", "weights.bin")) + header("other", 0) + padded(inner) + END
    assert unpacked(content).contents == {"weights.bin": inner}


def test_repeated_pax_key_means_the_last() -> None:
    content = pax(("path", "first"), ("path", "second")) + member("x") + END
    assert list(unpacked(content).contents) == ["second"]


def test_size_in_base_256() -> None:
    content = header("a", b"\x80" + (5).to_bytes(11, "big")) + padded(b"12345") + END
    assert unpacked(content).contents == {"a": b"12345"}


def test_signed_checksum_of_old_tars() -> None:
    block = bytearray(header("ü"))
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % signed
    assert list(unpacked(bytes(block) + END).contents) == ["ü"]


def test_v7_marks_folders_by_a_slash() -> None:
    content = header("sub/", type_=b"\0", magic=b"\0" * 8) + header("sub/a", type_=b"\0", magic=b"\0" * 8) + END
    assert list(unpacked(content).contents) == ["sub/a"]


def test_prefix_is_part_of_the_name_only_in_posix_archives() -> None:
    posix = header("a", prefix=b"folder")
    gnu = header("b", prefix=b"12345670123", magic=b"ustar  \0")  # access time, in GNU's older format
    assert list(unpacked(posix + gnu + END).contents) == ["folder/a", "b"]


def test_names_come_in_one_form() -> None:
    """NFC, as users type them, also from macOS' NFD; without `./` and doubled slashes."""
    content = gnu_long("./u\u0308ber//x") + header("x") + END
    assert list(unpacked(content).contents) == ["\u00fcber/x"]


def test_folders_may_repeat_and_come_late() -> None:
    folder = header("./sub/", type_=b"5")
    content = header("./", type_=b"5") + member("sub/a") + folder + folder + header(".", type_=b"5") + END
    assert list(unpacked(content).contents) == ["sub/a"]


def test_zero_padding_after_the_end_marker() -> None:
    assert unpacked(member() + END + bytes(10_240 + 7)).contents == {"config.json": b"{}"}
