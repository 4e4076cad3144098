"""Digests of files that were hashed before: believed only of files that cannot have changed since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libs.client.digests import DigestCache, FileDigest, default_folder
from libs.client.local import LocalFile

DIGEST = "ab" * 32
LONG_AGO = 1_700_000_000


@pytest.fixture
def file(tmp_path: Path) -> LocalFile:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return LocalFile("model.safetensors", path, 7)


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "cache")


def look(cache: DigestCache, file: LocalFile) -> FileDigest:
    return cache.find([file])[file.relative_path]


def test_kept_digest_is_found_by_the_next_run(cache: DigestCache, file: LocalFile, tmp_path: Path) -> None:
    cache.keep(file, look(cache, file), DIGEST)

    seen = look(DigestCache(tmp_path / "cache"), file)

    assert (seen.sha256, seen.changed) == (DIGEST, False)


def test_file_that_is_not_known_has_not_changed(cache: DigestCache, file: LocalFile) -> None:
    seen = look(cache, file)

    assert (seen.sha256, seen.changed) == (None, False)


@pytest.mark.parametrize("change", ["written", "touched", "replaced"])
def test_file_that_changed_is_not_believed(cache: DigestCache, file: LocalFile, change: str) -> None:
    cache.keep(file, look(cache, file), DIGEST)
    if change == "written":
        file.path.write_bytes(b"other!!")
    elif change == "touched":
        os.utime(file.path, (LONG_AGO + 1, LONG_AGO + 1))
    else:
        other = file.path.with_name("other")
        other.write_bytes(b"other!!")
        os.utime(other, (LONG_AGO, LONG_AGO))
        other.replace(file.path)

    seen = look(cache, file)

    assert (seen.sha256, seen.changed) == (None, True)


def test_file_that_had_just_been_written_is_not_kept(cache: DigestCache, file: LocalFile) -> None:
    """Another write within the same tick of the clock would not show."""
    os.utime(file.path)

    cache.keep(file, look(cache, file), DIGEST)

    assert look(cache, file).sha256 is None


def test_file_that_was_rewritten_just_now_is_hashed_by_the_next_run(cache: DigestCache, file: LocalFile) -> None:
    """It was sent again already: it has not changed since."""
    cache.keep(file, look(cache, file), DIGEST)
    os.utime(file.path)
    cache.keep(file, look(cache, file), "cd" * 32)

    seen = look(cache, file)

    assert (seen.sha256, seen.changed) == (None, False)


def test_cache_that_cannot_be_read_or_written_is_empty(file: LocalFile, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "digests.sqlite3").write_bytes(b"no database, though long enough" * 40)
    broken = DigestCache(tmp_path / "cache")
    (tmp_path / "file").touch()
    nowhere = DigestCache(tmp_path / "file" / "cache")

    for cache in (broken, nowhere):
        cache.keep(file, look(cache, file), DIGEST)
        assert look(cache, file).sha256 is None


def test_it_is_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")

    assert default_folder() == Path("/somewhere/slipway")
