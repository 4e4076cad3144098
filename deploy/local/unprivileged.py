"""Who Postgres is, since it refuses to be root.

- `direct`: we are not root; it is who we are.
- `namespace`: as root, in a user namespace where we are called `nobody`. Files stay ours, no other user is involved.
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
from deploy.local.process import Way, launched

VARIABLE = "SLIPWAY_POSTGRES_AS"
WAYS: dict[str, Way] = {way: way for way in get_args(Way)}
AS_ROOT: tuple[Way, ...] = ("namespace", "nobody")  # the first that works


def choose(program: Path) -> Way:
    """The way to run `program` on this machine and as this user. Raises: CannotRun if there is none."""
    forced = os.environ.get(VARIABLE, "auto")
    if forced in WAYS:
        return WAYS[forced]
    if forced != "auto":
        raise CannotRun(f"{VARIABLE} is {forced!r}; it may be auto, {', '.join(WAYS)}.")
    if os.geteuid() != 0:
        return "direct"
    failures = []
    for way in AS_ROOT:
        if (failure := why_not(way, program)) is None:
            return way
        failures.append(f"{way}: {failure}")
    why = "; ".join(failures)
    raise CannotRun(f"Postgres refuses to run as root, and root cannot be anybody else here ({why}). Be another user.")


def why_not(way: Way, program: Path) -> str | None:
    """What keeps `program` from running that way here; None if nothing does."""
    command = launched((str(program), "--version"), way, signal.SIGKILL)
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["no reason given"])[-1]


def give(folder: Path, way: Way) -> None:
    """Make `folder` and all in it belong to who runs there; needed when the way is another than last time."""
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    uid, gid = (nobody.pw_uid, nobody.pw_gid) if way == "nobody" else (os.geteuid(), os.getegid())
    if folder.stat().st_uid == uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), uid, gid, follow_symlinks=False)
    os.chown(folder, uid, gid)  # last: it says that the rest is done
