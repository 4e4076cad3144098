"""One run of one program as a child process: started through `launch.py`, logged to a file, ended within a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.local import pidfiles
from deploy.local.logfile import LogFile

LAUNCH = Path(__file__).with_name("launch.py")
SHARED_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")

RunAs = Literal["direct", "namespace", "nobody"]  # the user of the child: see unprivileged.py


@dataclass(frozen=True)
class Program:
    """What to run, and the signals that end it."""

    name: str
    argv: tuple[str, ...]  # argv[0] is a path
    log: Path
    pidfile: Path
    env: Mapping[str, str] = field(default_factory=dict)  # beside SHARED_ENVIRONMENT; nothing else is inherited
    cwd: Path | None = None
    run_as: RunAs = "direct"
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # what it gets when this process is killed
    notice: Callable[[str], None] | None = None  # is shown each line of its output


class Process:
    """A running child. `wait` and `stop` may be called several times."""

    def __init__(self, program: Program, child: asyncio.subprocess.Process) -> None:
        self.program = program
        self._child = child
        if child.stdout is None:
            raise ValueError("the child's output must come by a pipe")
        self._pump = asyncio.create_task(self._copy_output(child.stdout), name=f"log of {program.name}")

    @classmethod
    async def start(cls, program: Program) -> Process:
        """Run `program`; returns as soon as it is a process. Raises: OSError."""
        for folder in {program.log.parent, program.pidfile.parent}:
            folder.mkdir(mode=0o700, exist_ok=True)
        inherited = {name: os.environ[name] for name in SHARED_ENVIRONMENT if name in os.environ}
        child = await asyncio.create_subprocess_exec(
            *launched(program.argv, program.run_as, program.death_signal),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**inherited, **program.env},
            cwd=program.cwd,
            start_new_session=True,  # Ctrl-C in a terminal reaches this process only, which ends its children in order
        )
        pidfiles.write(program.pidfile, child.pid)
        return cls(program, child)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; -N if signal N ended it."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait for its end and for the last of its output."""
        code = await self._child.wait()
        await asyncio.shield(self._pump)
        pidfiles.remove(self.program.pidfile, self.pid)
        return code

    async def stop(self, within_s: float) -> int:
        """Ask it to end, and kill it if it has not after `within_s`."""
        self.signal(self.program.stop_signal)
        try:
            return await asyncio.wait_for(asyncio.shield(self.wait()), within_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it now."""
        self.signal(signal.SIGKILL)
        return await self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            self._child.send_signal(number)

    async def _copy_output(self, output: asyncio.StreamReader) -> None:
        with LogFile(self.program.log, self.program.notice) as log:
            while chunk := await output.read(65536):
                log.write(chunk)


def launched(argv: tuple[str, ...], run_as: RunAs, death_signal: signal.Signals) -> tuple[str, ...]:
    """The command line that runs `argv` through launch.py, as a child that ends with this process."""
    return (sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(death_signal)), run_as, *argv)


def how_it_ended(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
