"""The first program of every child process: ties its life to its parent, stops being root if asked to, and execs.

Run by path, with nothing of the project importable: `python -I -S launch.py PARENT SIGNAL RUN_AS PROGRAM ARG…`.
A program of its own and not a `preexec_fn`, since Python between fork and exec of a process with threads may deadlock,
and since only a process with one thread may enter a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

# <linux/prctl.h>, <linux/securebits.h>, <linux/sched.h>, <linux/capability.h>
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CLONE_NEWUSER = 0x10000000
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_namespace() -> None:
    """Become `nobody` in a new user namespace, where `nobody` is the present user outside: files keep their owner.

    Raises: OSError where the kernel or a container's seccomp profile forbids it.
    """
    nobody = pwd.getpwnam("nobody").pw_uid
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    _write("/proc/self/setgroups", "deny")  # else gid_map may not be written (user_namespaces(7))
    _write("/proc/self/uid_map", f"{nobody} {uid} 1")
    _write("/proc/self/gid_map", f"{nobody} {gid} 1")


def become_nobody() -> None:
    """Become `nobody`, with the one capability to pass through directories that are closed to others.

    So programs and data below a directory that is closed to others need not be copied.

    Raises: OSError, unless this process is root.
    """
    nobody = pwd.getpwnam("nobody")
    # Capabilities then survive the change of user, and access(2), with which initdb looks for postgres, heeds them.
    _check(_libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "prctl(PR_SET_SECUREBITS)")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
    one = 1 << CAP_DAC_OVERRIDE
    sets = (_Sets * 2)(_Sets(one, one, one), _Sets(0, 0, 0))  # version 3 has 64 bits of capabilities
    _check(_libc.capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)), "capset")
    _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0), "prctl(PR_CAP_AMBIENT)")


def die_with(parent: int, number: int) -> None:
    """Have the kernel send signal `number` to this process when the thread that started it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # the parent ended before
        os.kill(os.getpid(), signal.SIGKILL)


def main(argv: list[str]) -> None:
    """Prepare this process by its arguments, then exec PROGRAM."""
    parent, number, run_as, *command = argv
    if run_as == "namespace":
        enter_namespace()
    elif run_as == "nobody":
        become_nobody()
    if sys.platform == "linux":
        die_with(int(parent), int(number))  # last, since a change of credentials forgets it
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
