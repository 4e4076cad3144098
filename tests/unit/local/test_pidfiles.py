"""Pid files: a process of a former run is found, a stranger that got its pid is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import pidfiles


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_process_left_running_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    pidfiles.write(tmp_path / "gateway.pid", sleeper.pid)

    assert pidfiles.end_processes(tmp_path) == ["gateway"]
    assert sleeper.poll() is not None
    assert list(tmp_path.iterdir()) == []


def test_a_stranger_that_got_the_pid_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "gateway.pid").write_text(json.dumps({"pid": sleeper.pid, "started": 1_000_000.0}))

    assert pidfiles.end_processes(tmp_path) == []
    assert sleeper.poll() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 0}', '{"pid": 999999999, "started": 0}'])
def test_a_damaged_or_outdated_file_is_about_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "gateway.pid").write_text(content)
    assert pidfiles.end_processes(tmp_path) == []


def test_a_late_forget_keeps_the_file_of_the_next_process(tmp_path: Path) -> None:
    pidfile = tmp_path / "gateway.pid"
    pidfiles.write(pidfile, os.getpid())
    pidfiles.remove(pidfile, os.getpid() + 1)
    assert pidfile.exists()
    pidfiles.remove(pidfile, os.getpid())
    assert not pidfile.exists()
