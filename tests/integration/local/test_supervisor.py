"""Servers are kept running, and those who look on are told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.local import supervisor
from deploy.local.errors import StartFailed
from deploy.local.process import Program
from deploy.local.supervisor import Supervisor


class Sleeper:
    """A server that says its pid and does nothing; `pids` has one of each run."""

    def __init__(self, folder: Path, name: str = "sleeper", code: str = "import signal; signal.pause()") -> None:
        self.name = name
        self._folder = folder
        self._code = code
        self.pids: asyncio.Queue[int] = asyncio.Queue()

    async def prepare(self) -> None: ...

    def program(self) -> Program:
        return Program(
            name=self.name,
            argv=(sys.executable, "-c", f"import os; print(os.getpid(), flush=True)\n{self._code}"),
            log=self._folder / f"{self.name}.log",
            pidfile=self._folder / f"{self.name}.pid",
            notice=lambda line: self.pids.put_nowait(int(line)),
        )

    async def ready(self) -> bool:
        return True


class Heard:
    """What was said, and a way to wait for the next of it."""

    def __init__(self) -> None:
        self.sentences: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, sentence: str) -> None:
        self.sentences.put_nowait(sentence)


async def test_a_server_that_dies_is_started_again_and_it_is_said_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)
    heard, sleeper = Heard(), Sleeper(tmp_path)
    keeping = Supervisor(heard)
    await keeping.start(sleeper)

    for pause in ("0.01", "0.02"):  # it did not live long, so each time it is waited longer
        os.kill(await sleeper.pids.get(), signal.SIGKILL)
        said = await heard.sentences.get()
        assert said == f"sleeper ended with SIGKILL; starting it again in {pause} s"
    assert await sleeper.pids.get()

    await keeping.stop(within_s=10)
    assert list(tmp_path.glob("*.pid")) == []


async def test_a_server_that_does_not_come_up_is_reported_with_its_log(tmp_path: Path) -> None:
    class NeverReady(Sleeper):
        async def ready(self) -> bool:
            return False

    keeping = Supervisor(Heard())
    healthy = Sleeper(tmp_path, "healthy")
    with pytest.raises(StartFailed, match=r"broken ended with exit code 7 before it was ready; its log .*says:\n\d+$"):
        await keeping.start(healthy, NeverReady(tmp_path, "broken", "raise SystemExit(7)"))
    await keeping.stop(within_s=10)
    assert list(tmp_path.glob("*.pid")) == []
