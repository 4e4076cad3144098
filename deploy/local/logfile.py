"""Writes a child's output to two files of bounded size, and passes its lines to a callback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROTATE_BYTES = 32 << 20
LONGEST_LINE = 1 << 16
SHOWN_OF_A_LINE = 400


class LogFile:
    """Append to `path`; beyond ROTATE_BYTES it becomes `path.1`, which replaces the one before."""

    def __init__(self, path: Path, notice: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._notice = notice
        self._file = path.open("ab", buffering=0)
        self._rest = b""  # of a line whose end has not come yet

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Keep `chunk`, and show the lines that it ends."""
        self._file.write(chunk)
        if self._file.tell() > ROTATE_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab", buffering=0)
        if self._notice is not None:
            *lines, rest = (self._rest + chunk).split(b"\n")
            self._rest = rest[:LONGEST_LINE]
            for line in lines:
                self._notice(line.decode(errors="replace"))


def tail(path: Path, lines: int = 20) -> str:
    """The last `lines` lines of a log, long ones cut, or "" if there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_LINE))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join(line if len(line) <= SHOWN_OF_A_LINE else f"{line[:SHOWN_OF_A_LINE]}…" for line in last)
