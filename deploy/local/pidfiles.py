"""Pid files that also have the start time of the process, so that a reused pid is not mistaken for it.

When this process is killed, the kernel ends its children (launch.py). This is for systems where it cannot, and for the
moment until it has.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from deploy.local.errors import StillRunning

SAME_START_S = 2.0  # psutil derives the start from the boot time, which clock corrections move
GONE_WITHIN_S = 5.0


class PidFile(msgspec.Struct, frozen=True):
    """What a pid file says."""

    pid: int
    started: float  # seconds since the epoch


def write(pidfile: Path, pid: int) -> None:
    """Write the pid file of the child `pid`."""
    try:
        content = PidFile(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return  # ended already; there is nothing to find later
    unfinished = pidfile.with_suffix(".new")
    unfinished.write_bytes(msgspec.json.encode(content))
    unfinished.replace(pidfile)


def remove(pidfile: Path, pid: int) -> None:
    """Remove the pid file of `pid`, which has ended, unless it is of a later process already."""
    content = _read(pidfile)
    if content is not None and content.pid == pid:
        pidfile.unlink()


def running_process(pidfile: Path) -> psutil.Process | None:
    """The process of `pidfile`; None if it does not run."""
    content = _read(pidfile)
    if content is None:
        return None
    try:
        process = psutil.Process(content.pid)
        same = abs(process.create_time() - content.started) < SAME_START_S
    except (ValueError, psutil.NoSuchProcess):
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def end_processes(folder: Path) -> list[str]:
    """End the processes that an earlier run left running, by the pid files in `folder`. Returns: their names."""
    found = {pidfile.stem: running_process(pidfile) for pidfile in sorted(folder.glob("*.pid"))}
    running = {name: process for name, process in found.items() if process is not None}
    _end_all(list(running.values()))
    for pidfile in folder.glob("*.pid"):
        pidfile.unlink()
    return sorted(running)


def end_processes_in(directory: Path) -> None:
    """End every process whose working directory is `directory`, such as the orphans of a killed postmaster."""
    here = os.path.realpath(directory)
    orphans = [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == here]
    _end_all(orphans)


def _read(pidfile: Path) -> PidFile | None:
    try:
        return msgspec.json.decode(pidfile.read_bytes(), type=PidFile)
    except (FileNotFoundError, msgspec.DecodeError):  # none, or cut off by a power failure
        return None


def _end_all(processes: list[psutil.Process]) -> None:
    """Send SIGKILL and wait. Raises: StillRunning."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_S)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise StillRunning(f"Processes of a former run do not end, even when killed: {pids}.")
