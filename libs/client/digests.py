"""SHA-256 of files that were hashed or sent before, kept in the user's cache directory, so that a file is hashed once.

A digest is believed while path, device, inode, size and modification time are what they were; and only of files that
had been left alone for a while when they were read, since a change within the clock's grain would not show.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from libs.client.local import LocalFile

_GRAIN_S = 2.0  # of the coarsest file systems' times (FAT); git's index has the same doubt
_KEEP_S = 180 * 86400.0
_LOCKED_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS digest (
    path TEXT PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, sha256 TEXT, kept_at REAL
) WITHOUT ROWID
"""


class Identity(NamedTuple):
    """The attributes by which a change of a file is noticed without reading it."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class FileDigest(NamedTuple):
    """A file and its digest, if that is known; `changed` if the file was changed after it was last read."""

    identity: Identity
    at: float  # when it was looked at, seconds since the epoch
    sha256: str | None
    changed: bool


def default_folder() -> Path:
    """Where the cache is: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"


def identity(path: Path) -> Identity:
    """The file's identity now. Raises: OSError."""
    about = path.stat()
    return Identity(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


class DigestCache:
    """One SQLite file, shared by every run of the command. A cache that cannot be read or written is an empty one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = (folder or default_folder()) / "digests.sqlite3"

    def find(self, files: Iterable[LocalFile]) -> dict[str, FileDigest]:
        """The known digests, by relative path. Raises: OSError if a file does not exist."""
        now = time.time()
        found: dict[str, FileDigest] = {}
        known = self._rows([str(file.path.absolute()) for file in files])
        for file in files:
            mine = identity(file.path)
            row = known.get(str(file.path.absolute()))
            same = row is not None and row[0] == mine
            found[file.relative_path] = FileDigest(
                mine, now, row[1] if row and same else None, row is not None and not same
            )
        return found

    def keep(self, file: LocalFile, seen: FileDigest, sha256: str) -> None:
        """Store the digest of a file that was read after it was `seen` and did not change since.

        The digest of a file that had just been written is not stored: the next run computes it again.
        """
        path = str(file.path.absolute())
        try:
            with closing(self._open()) as db, db:
                if seen.at - seen.identity.mtime_ns / 1e9 < _GRAIN_S:
                    db.execute("DELETE FROM digest WHERE path = ?", (path,))
                    return
                db.execute(
                    "INSERT OR REPLACE INTO digest (path, device, inode, size, mtime_ns, sha256, kept_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (path, *_signed(seen.identity), sha256, seen.at),
                )
                db.execute("DELETE FROM digest WHERE kept_at < ?", (seen.at - _KEEP_S,))
        except (sqlite3.Error, OSError):
            return  # the next run hashes it again, which is all that is lost

    def _rows(self, paths: list[str]) -> dict[str, tuple[Identity, str]]:
        if not self._file.exists():
            return {}
        found: dict[str, tuple[Identity, str]] = {}
        try:
            with closing(self._open()) as db:
                for path in paths:
                    row = db.execute(
                        "SELECT device, inode, size, mtime_ns, sha256 FROM digest WHERE path = ?", (path,)
                    ).fetchone()
                    if row is not None:
                        device, inode, size, mtime_ns, sha256 = row
                        found[path] = (Identity(device % 2**64, inode % 2**64, size, mtime_ns), sha256)
        except (sqlite3.Error, OSError):
            return {}
        return found

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self._file, timeout=_LOCKED_S)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")  # a digest that is lost is computed again
            db.execute(_SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        return db


class NoDigests(DigestCache):
    """A cache that is always empty."""

    def _rows(self, paths: list[str]) -> dict[str, tuple[Identity, str]]:
        return {}

    def keep(self, file: LocalFile, seen: FileDigest, sha256: str) -> None:
        """Does nothing."""


def _signed(about: Identity) -> tuple[int, int, int, int]:
    """As SQLite holds integers: 64 bits with a sign."""
    return (_wrapped(about.device), _wrapped(about.inode), about.size, about.mtime_ns)


def _wrapped(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
