"""Children: they end when told, when they must, and when we do."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.local.process import Process, Program, how_it_ended

TELLS_AND_WAITS = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {TELLS_AND_WAITS}"
# A parent that starts a child of ours, says its pid, and then waits to be killed.
PARENT = """
import asyncio, sys
from pathlib import Path
from deploy.local.process import Process, Program

async def main():
    folder = Path(sys.argv[1])
    command = (sys.executable, "-c", "import signal; signal.pause()")
    child = await Process.start(Program("child", command, folder / "log", folder / "child.pid"))
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def program(folder: Path, code: str, saw_up: asyncio.Event | None = None) -> Program:
    return Program(
        name="child",
        argv=(sys.executable, "-c", code),
        log=folder / "child.log",
        pidfile=folder / "child.pid",
        notice=lambda line: saw_up.set() if saw_up and line == "up" else None,
    )


async def started(folder: Path, code: str) -> Process:
    """A child that has said that it is up."""
    up = asyncio.Event()
    process = await Process.start(program(folder, code, up))
    await up.wait()
    return process


async def test_a_child_ends_when_asked(tmp_path: Path) -> None:
    process = await started(tmp_path, TELLS_AND_WAITS)
    assert how_it_ended(await process.stop(within_s=10)) == "SIGTERM"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["child.log"]


async def test_a_child_that_does_not_listen_is_killed_in_time(tmp_path: Path) -> None:
    process = await started(tmp_path, STUBBORN)
    assert how_it_ended(await process.stop(within_s=0.2)) == "SIGKILL"


async def test_a_child_inherits_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    process = await Process.start(program(tmp_path, "import os; print(sorted(os.environ))"))
    assert await process.wait() == 0
    assert "PATH" in (tmp_path / "child.log").read_text()
    assert "AWS" not in (tmp_path / "child.log").read_text()


async def test_its_last_words_are_in_the_log(tmp_path: Path) -> None:
    process = await Process.start(program(tmp_path, "print('x' * 1_000_000); raise SystemExit(3)"))
    assert how_it_ended(await process.wait()) == "exit code 3"
    assert (tmp_path / "child.log").stat().st_size == 1_000_001


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends what is left")
def test_children_of_a_killed_parent_die_with_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)  # where nobody reaps orphans
