"""What on disk counts as something to upload."""

from __future__ import annotations

import io
import os
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.client import LocalArchive, LocalDirectory, LocalProblem, inspect
from libs.client.local import archive_format

GZIP = b"\x1f\x8b\x08" + bytes(509)
BZIP2 = b"BZh9" + bytes(508)
EMPTY = bytes(512)


def tar_head() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("config.json"))
    return target.getvalue()[:512]


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("m.tar", tar_head(), "tar"),
        ("m.tar.gz", GZIP, "tar.gz"),
        ("m.tgz", GZIP, "tar.gz"),
        ("m.tar.bz2", BZIP2, "tar.bz2"),
        ("m.tbz2", BZIP2, "tar.bz2"),
        ("m.tar", GZIP, "tar.gz"),  # the bytes know better than the name
        ("download", BZIP2, "tar.bz2"),
        ("OLD.TAR", EMPTY, "tar"),  # before POSIX.1-1988 there was no magic
    ],
)
def test_format_is_told_by_the_bytes_then_by_the_name(name: str, head: bytes, expected: str) -> None:
    assert archive_format(name, head) == expected


@pytest.mark.parametrize(
    ("name", "head", "words"),
    [
        ("m.zip", b"PK\x03\x04" + EMPTY, "a zip file. Unpack it"),
        ("m.tar.zst", b"\x28\xb5\x2f\xfd" + EMPTY, "zstd data. Unpack it"),
        ("m.tar.xz", b"\xfd7zXZ\x00" + EMPTY, "xz data. Unpack it"),
        ("model.safetensors", EMPTY, "Upload the directory that holds it"),
    ],
)
def test_other_files_are_refused_with_what_to_do(name: str, head: bytes, words: str) -> None:
    with pytest.raises(LocalProblem, match=words):
        archive_format(name, head)


def test_archive_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "m.tar.gz"
    path.write_bytes(GZIP)

    assert inspect(path) == LocalArchive(path, "tar.gz", 512)


@pytest.mark.parametrize(("make", "words"), [(lambda p: None, "nothing at"), (lambda p: p.touch(), "is empty")])
def test_nothing_and_empty_are_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "m.tar"
    make(path)

    with pytest.raises(LocalProblem, match=words):
        inspect(path)


def directory(root: Path) -> LocalDirectory:
    found = inspect(root)
    assert isinstance(found, LocalDirectory)
    return found


def given(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_directory_leaves_junk_out(tmp_path: Path) -> None:
    junk = (".git/HEAD", ".DS_Store", "._config.json", "a/__pycache__/x.pyc", ".cache/huggingface/download/x.lock")
    given(tmp_path, "config.json", "a/b.txt", *junk)

    assert [file.relative_path for file in directory(tmp_path).files] == ["a/b.txt", "config.json"]


def test_names_are_sent_composed_and_read_as_the_disk_has_them(tmp_path: Path) -> None:
    """A decomposed name (macOS) and a composed one are the same file to the server."""
    given(tmp_path, "config.json", unicodedata.normalize("NFD", "é.txt"))

    [_, file] = directory(tmp_path).files

    assert file.relative_path == unicodedata.normalize("NFC", "é.txt")
    assert file.path.exists()


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w"):
        pass

    with pytest.raises(LocalProblem, match="is not UTF-8"):
        inspect(tmp_path)


def test_directory_without_config_is_told_and_a_nested_one_suggested(tmp_path: Path) -> None:
    given(tmp_path, "model/config.json", "model/model.safetensors")

    [note] = directory(tmp_path).notes

    assert "no config.json" in note
    assert f"Did you mean {tmp_path / 'model'}?" in note


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match="holds no files"):
        inspect(tmp_path)


class TestHuggingFaceCache:
    """`models--ORG--NAME`: blobs, refs and snapshots of symbolic links."""

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        root = tmp_path / "models--Qwen--Qwen3-0.6B"
        given(root, "blobs/1234", "snapshots/old/config.json", "snapshots/new/config.json")
        (root / "snapshots" / "new" / "model.safetensors").symlink_to("../../blobs/1234")
        return root

    def test_links_are_followed(self, cache: Path) -> None:
        found = directory(cache / "snapshots" / "new")

        assert [(file.relative_path, file.size_bytes) for file in found.files] == [
            ("config.json", len("snapshots/new/config.json")),
            ("model.safetensors", len("blobs/1234")),
        ]

    def test_the_snapshot_of_main_is_taken(self, cache: Path) -> None:
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text("new")

        found = directory(cache)

        assert found.path == cache / "snapshots" / "new"
        assert "its snapshot new" in found.notes[0]

    def test_of_several_one_has_to_be_named(self, cache: Path) -> None:
        with pytest.raises(LocalProblem, match="holds 2 snapshots; name one"):
            inspect(cache)

    def test_a_link_to_nothing_is_told(self, cache: Path) -> None:
        (cache / "blobs" / "1234").unlink()

        with pytest.raises(LocalProblem, match="a symbolic link to nothing"):
            inspect(cache / "snapshots" / "new")


def test_link_to_an_own_ancestor_ends(tmp_path: Path) -> None:
    given(tmp_path, "config.json", "a/b.txt")
    (tmp_path / "a" / "again").symlink_to(tmp_path)

    with pytest.raises(LocalProblem, match="a folder that holds it"):
        inspect(tmp_path)


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(LocalProblem, match="not a regular file"):
        inspect(tmp_path)
