"""The rules for names, as directory manifests meet them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.archives.limits import PathLimits
from libs.archives.paths import PathRejected, PathSet, check_path, displayable, is_macos_metadata
from libs.errors import Invalid


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("config.json", "config.json"),
        ("./a//b/./c", "a/b/c"),
        ("with space %20.bin", "with space %20.bin"),
        ("u\u0308", "\u00fc"),
        ("...", "..."),
        ("..a/b..", "..a/b.."),
        (".gitattributes", ".gitattributes"),
        ("emoji \U0001f468\u200d\U0001f469", "emoji \U0001f468\u200d\U0001f469"),
        ("/".join(["x" * 102] * 5)[:512], "/".join(["x" * 102] * 5)[:512]),
    ],
)
def test_accepted(raw: str, normal: str) -> None:
    assert check_path(raw) == normal


@pytest.mark.parametrize("raw", ["", ".", "./", "/", "//", "a/", "a/.", "..", "a/..", "~\0", "c:x", "a\\..\\b"])
def test_refused_as_an_invalid_request(raw: str) -> None:
    with pytest.raises(PathRejected) as refused:
        check_path(raw)
    assert isinstance(refused.value, Invalid)
    assert refused.value.finding.fix in str(refused.value)


@given(st.text())
def test_normal_form_is_stable_and_stays_inside(raw: str) -> None:
    try:
        path = check_path(raw)
    except PathRejected:
        return
    assert check_path(path) == path
    assert not path.startswith("/")
    assert ".." not in path.split("/")


@given(st.lists(st.text("aAbB/.ßéu\u0308", min_size=1, max_size=6), max_size=20))
def test_accepted_paths_are_distinct_for_every_file_system(raws: list[str]) -> None:
    paths = PathSet()
    accepted: list[str] = []
    for raw in raws:
        try:
            path = check_path(raw)
            paths.add_file(path)
        except PathRejected:
            continue
        accepted.append(path)
    folded = [path.casefold() for path in accepted]
    assert len(set(folded)) == len(folded)
    assert not any(b.startswith(a + "/") for a in folded for b in folded)


def test_limits_count_files_and_folders() -> None:
    paths = PathSet(PathLimits(max_files=2))
    paths.add_folder("a")
    paths.add_file("a/b")
    with pytest.raises(PathRejected, match="more than 2 files"):
        paths.add_file("c")


@pytest.mark.parametrize(
    ("path", "litter"),
    [("._a", True), ("x/._a", True), (".DS_Store", True), ("__MACOSX/a", True), ("a.DS_Store", False), ("_.a", False)],
)
def test_litter(path: str, litter: bool) -> None:
    assert is_macos_metadata(path) == litter


def test_shown_is_short_and_printable() -> None:
    assert displayable("a\n\udcff" + "x" * 500).isprintable()
    assert len(displayable("x" * 500)) == 200
