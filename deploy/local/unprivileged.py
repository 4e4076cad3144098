"""The user that Postgres runs as, since it refuses to run as root.

- `direct`: this process is not root; the same user.
- `namespace`: as root, in a user namespace where it is called `nobody`. Files keep their owner.
- `nobody`: as root where namespaces are forbidden (Docker's default profile): the user `nobody`, given the one
  capability that it takes to reach programs and data below a directory closed to others.

SLIPWAY_POSTGRES_AS forces one of them.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import get_args

from deploy.local.errors import CannotRun
from deploy.local.process import RunAs, launched

VARIABLE = "SLIPWAY_POSTGRES_AS"
CHOICES: dict[str, RunAs] = {each: each for each in get_args(RunAs)}
AS_ROOT: tuple[RunAs, ...] = ("namespace", "nobody")  # the first that works


def choose(program: Path) -> RunAs:
    """How to run `program` on this machine as this user. Raises: CannotRun if no choice works."""
    forced = os.environ.get(VARIABLE, "auto")
    if forced in CHOICES:
        return CHOICES[forced]
    if forced != "auto":
        raise CannotRun(f"{VARIABLE} is {forced!r}; it may be auto, {', '.join(CHOICES)}.")
    if os.geteuid() != 0:
        return "direct"
    failures = []
    for run_as in AS_ROOT:
        if (failure := why_not(run_as, program)) is None:
            return run_as
        failures.append(f"{run_as}: {failure}")
    why = "; ".join(failures)
    raise CannotRun(f"Postgres refuses to run as root, and root cannot be anybody else here ({why}). Be another user.")


def why_not(run_as: RunAs, program: Path) -> str | None:
    """Why `program` cannot be run as that here; None if it can."""
    command = launched((str(program), "--version"), run_as, signal.SIGKILL)
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["no reason given"])[-1]


def give_ownership(folder: Path, run_as: RunAs) -> None:
    """Give `folder` and everything in it to the user that runs there; needed where that was another one last time."""
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    uid, gid = (nobody.pw_uid, nobody.pw_gid) if run_as == "nobody" else (os.geteuid(), os.getegid())
    if folder.stat().st_uid == uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), uid, gid, follow_symlinks=False)
    os.chown(folder, uid, gid)  # last: it says that the rest is done
