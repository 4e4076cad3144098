"""Which names a model's files may have: one rule for archives and for directory manifests.

Storage never sees these names (keys are opaque), but they come back in listings, and clients write them to disks of
every kind. So a name must mean the same file on Linux, macOS and Windows, and must not leave the model's folder.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from libs import errors
from libs.archives.limits import PathLimits
from libs.contracts import Finding, findings
from libs.contracts.limits import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES

_DISPLAYED_CHARACTERS = 200
_RELATIVE = "Name files relative to the model's folder, without a leading '/', a drive or '..'."
_DRIVE = re.compile(r"^[A-Za-z]:")
_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # make a name read as another one


class PathRejected(errors.Invalid):
    """A path is refused; `finding` says why, and what to do."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.sentence(), retryable=False)


def check_path(raw: str) -> str:
    """Return the normal form of a relative path: NFC, without `.` components and doubled slashes.

    `raw` may contain lone surrogates (PEP 383) where it was not UTF-8; such a path is refused.
    Raises: PathRejected.
    """
    _refuse_characters(raw)
    if raw.startswith("/"):
        raise _rejected("path-absolute", "the path is absolute.", _RELATIVE, raw)
    if _DRIVE.match(raw):
        raise _rejected("path-drive-letter", "the path begins with a drive letter.", _RELATIVE, raw)
    names = [name for name in raw.split("/") if name not in ("", ".")]
    if any(_fold(name) == ".." for name in names):
        raise _rejected("path-escapes", "the path contains '..'.", _RELATIVE, raw)
    if not names or raw.endswith(("/", "/.")):
        raise _rejected("path-empty", "the path names no file.", "Give every file a name.", raw)
    path = unicodedata.normalize("NFC", "/".join(names))
    _refuse_sizes(path)
    return path


def is_macos_metadata(path: str) -> bool:
    """Whether `path` (in normal form) is a file that macOS adds by itself; such files are left out and reported."""
    folder, _, name = path.rpartition("/")
    return name.startswith("._") or name in (".DS_Store", "__MACOSX") or "__MACOSX" in folder.split("/")


def displayable(raw: str) -> str:
    """Return `raw` for use in a message: no control characters, no lone surrogates, about 200 characters at most."""
    text = raw if len(raw) <= _DISPLAYED_CHARACTERS else raw[: _DISPLAYED_CHARACTERS - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class PathSet:
    """The paths of one model. Refuses a path that repeats, collides, or is both a file and a folder.

    Two names collide when they are equal after compatibility normalization and case folding (NFKC, `casefold`, NFKC),
    without invisible format characters and trailing dots and spaces: at least as strict as the file systems that
    clients use.
    """

    def __init__(self, limits: PathLimits | None = None) -> None:
        self._limits = limits or PathLimits()
        self._files: dict[str, str] = {}  # folded -> as first spelled
        self._folders: dict[str, str] = {}
        self._members = 0
        self._listing_bytes = 0

    def add_file(self, path: str) -> None:
        """Add a file, by its path in normal form. Raises: PathRejected."""
        self.count(path)
        folder = path.rpartition("/")[0]
        if folder:
            self._add_folders(folder, of=path)
        folded = _fold_path(path)
        if folded in self._folders:
            raise _both(path, self._folders[folded])
        if folded in self._files:
            raise _collision(path, self._files[folded])
        self._files[folded] = path

    def add_folder(self, path: str) -> None:
        """Add a folder, by its path in normal form; it may be added again. Raises: PathRejected."""
        self.count(path)
        self._add_folders(path, of=path)

    def count(self, path: str) -> None:
        """Count a path against the limits without adding it, for a file that is left out. Raises: PathRejected."""
        self._members += 1
        self._listing_bytes += len(msgspec.json.encode(path)) + 1
        if self._members > self._limits.max_files:
            found = f"there are more than {self._limits.max_files} files."
            raise _rejected("path-too-many", found, "Leave out what does not belong to the model.", path)
        if self._listing_bytes > self._limits.max_listing_bytes:
            found = f"all paths together are longer than {self._limits.max_listing_bytes} bytes."
            raise _rejected("path-listing-too-long", found, "Use fewer files or shorter names.", path)

    def _add_folders(self, folder: str, *, of: str) -> None:
        names = folder.split("/")
        for depth in range(1, len(names) + 1):
            spelled = "/".join(names[:depth])
            folded = _fold_path(spelled)
            if folded in self._files:
                raise _both(of, self._files[folded])
            known = self._folders.setdefault(folded, spelled)
            if known != spelled:
                raise _collision(of, known)


def _refuse_characters(raw: str) -> None:
    for character in raw:
        if character.isascii() and character.isprintable() and character != "\\":
            continue
        category = unicodedata.category(character)
        if category == "Cs":
            raise _rejected("path-not-utf8", "the name is not valid UTF-8.", "Rename the file and send it again.", raw)
        if category in ("Cc", "Zl", "Zp") or character in _BIDIRECTIONAL:
            found = f"the name contains the control character U+{ord(character):04X}."
            raise _rejected("path-control-character", found, "Rename the file and send it again.", raw)
        if character == "\\":
            raise _rejected("path-backslash", "the name contains a backslash.", "Separate folders with '/'.", raw)


def _refuse_sizes(path: str) -> None:
    names = path.split("/")
    if len(path.encode()) > MAX_PATH_BYTES:
        found = f"the path is longer than {MAX_PATH_BYTES} bytes."
        raise _rejected("path-too-long", found, "Shorten the names.", path)
    if any(len(name.encode()) > MAX_NAME_BYTES for name in names):
        found = f"a name in the path is longer than {MAX_NAME_BYTES} bytes."
        raise _rejected("path-name-too-long", found, "Shorten the name.", path)
    if len(names) > MAX_DEPTH:
        found = f"the path has more than {MAX_DEPTH} levels."
        raise _rejected("path-too-deep", found, "Use fewer folders within folders.", path)


def _fold(name: str) -> str:
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in folded if unicodedata.category(character) != "Cf")


def _fold_path(path: str) -> str:
    return "/".join(_fold(name).rstrip(". ") or name for name in path.split("/"))


def _collision(path: str, known: str) -> PathRejected:
    if path == known:
        return _rejected("path-repeated", "the file occurs twice.", "Send every file once.", path)
    found = f"the name differs from '{displayable(known)}' only in case, Unicode form or a trailing dot."
    return _rejected("path-collides", found, "Rename one of the two: some systems cannot tell them apart.", path)


def _both(path: str, known: str) -> PathRejected:
    found = f"'{displayable(known)}' is both a file and a folder."
    return _rejected("path-file-and-folder", found, "Rename one of the two.", path)


def _rejected(rule: str, found: str, fix: str, raw: str) -> PathRejected:
    return PathRejected(findings.error(rule, found, fix, file=displayable(raw)))
