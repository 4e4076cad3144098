"""A child's output: bounded on disk, and seen line by line however it arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import logfile
from deploy.local.logfile import LogFile, tail


def test_lines_are_noticed_whole_however_they_arrive(tmp_path: Path) -> None:
    noticed: list[str] = []
    with LogFile(tmp_path / "a.log", noticed.append) as log:
        for chunk in (b"on", b"e\ntwo\nthr", b"ee\nunended"):
            log.write(chunk)
    assert noticed == ["one", "two", "three"]
    assert (tmp_path / "a.log").read_text() == "one\ntwo\nthree\nunended"


def test_a_line_without_end_does_not_grow_in_memory(tmp_path: Path) -> None:
    noticed: list[str] = []
    with LogFile(tmp_path / "a.log", noticed.append) as log:
        for _ in range(10):
            log.write(b"x" * logfile.LONGEST_LINE)
        log.write(b"\n")
    assert [len(line) for line in noticed] == [logfile.LONGEST_LINE]


def test_a_long_log_keeps_its_last_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE_BYTES", 15)
    with LogFile(tmp_path / "a.log") as log:
        for number in range(5):
            log.write(f"line {number} .\n".encode())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    assert (tmp_path / "a.log.1").read_text() == "line 2 .\nline 3 .\n"
    assert (tmp_path / "a.log").read_text() == "line 4 .\n"


def test_the_tail_is_the_last_lines_with_long_ones_cut(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("first\n" + "x" * 1000 + "\nlast\n")
    assert tail(tmp_path / "a.log", 2) == "x" * logfile.SHOWN_OF_A_LINE + "…\nlast"
