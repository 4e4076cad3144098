"""Inspects what is on disk: an archive, or a directory and the files in it that belong to the model."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from libs.client.errors import LocalProblem
from libs.contracts.formats import (
    OTHER_ARCHIVES,
    SIGNATURE_BYTES,
    SUFFIXES,
    ArchiveFormat,
    format_by_content,
    format_by_name,
)

_JUNK_DIRS = frozenset({".git", "__pycache__"})
_JUNK_FILES = frozenset({".DS_Store"})
_DOWNLOAD_CACHE = (".cache", "huggingface")  # what `hf download --local-dir` leaves beside the files


@dataclass(frozen=True)
class LocalArchive:
    """An archive of a model directory."""

    path: Path
    format: ArchiveFormat
    size_bytes: int


@dataclass(frozen=True)
class LocalFile:
    """One file of a model; `relative_path` is POSIX and NFC, `path` as the disk has it."""

    relative_path: str
    path: Path
    size_bytes: int


@dataclass(frozen=True)
class LocalDirectory:
    """A model directory; `notes` are sentences to show to the user before the upload."""

    path: Path
    files: tuple[LocalFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def inspect(path: Path) -> LocalArchive | LocalDirectory:
    """Inspect the archive or directory at `path`.

    Raises: LocalProblem, saying what to do, if it is neither an archive that Slipway reads nor a directory of files.
    """
    if path.is_dir():
        return _directory(path)
    if not path.exists():
        raise LocalProblem(f"There is nothing at {path}.")
    return _archive(path)


def _archive(path: Path) -> LocalArchive:
    try:
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
        size_bytes = path.stat().st_size
    except OSError as error:
        raise LocalProblem(f"Cannot read {path}: {error.strerror}.") from error
    if size_bytes == 0:
        raise LocalProblem(f"{path} is empty.")
    return LocalArchive(path, archive_format(path.name, head), size_bytes)


def archive_format(name: str, head: bytes) -> ArchiveFormat:
    """The format of an archive by its first 512 bytes, then by its name.

    Raises: LocalProblem, saying how to pack it anew.
    """
    if found := format_by_content(head):
        return found
    for signature, what in OTHER_ARCHIVES.items():
        if head.startswith(signature):
            raise LocalProblem(f"{name} is {what}. Unpack it, then upload the directory: slipway upload DIRECTORY.")
    if found := format_by_name(name):
        return found
    raise LocalProblem(
        f"{name} is neither a directory nor an archive ({SUFFIXES}). "
        "Upload the directory that holds it, with its config.json."
    )


def _directory(path: Path) -> LocalDirectory:
    root, notes = _snapshot(path)
    files = sorted(_walk(root), key=lambda file: file.relative_path)
    if not files:
        raise LocalProblem(f"{root} holds no files.")
    names = {file.relative_path for file in files}
    if not names & {"config.json", "params.json"}:
        notes = (*notes, _without_config(root, names))
    return LocalDirectory(root, tuple(files), notes)


def _snapshot(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The snapshot inside a repository of the Hugging Face cache (`models--ORG--NAME`), or `path` itself.

    Its layout: `blobs/`, `refs/main` (a commit), `snapshots/COMMIT/` with symbolic links to the blobs.
    """
    snapshots = path / "snapshots"
    if not snapshots.is_dir() or (path / "config.json").exists():
        return path, ()
    found = sorted(entry for entry in snapshots.iterdir() if entry.is_dir())
    main = path / "refs" / "main"
    if main.is_file():
        named = snapshots / main.read_text().strip()
        found = [named] if named in found else found
    if len(found) != 1:
        raise LocalProblem(f"{path} holds {len(found)} snapshots; name one: slipway upload {snapshots}/COMMIT.")
    return found[0], (f"This is a Hugging Face cache; uploading its snapshot {found[0].name}.",)


def _without_config(root: Path, names: set[str]) -> str:
    nested = sorted(name for name in names if name.count("/") == 1 and name.endswith("/config.json"))
    hint = f" Did you mean {root / nested[0].removesuffix('/config.json')}?" if len(nested) == 1 else ""
    return f"There is no config.json in {root}; the server will not accept a model without it.{hint}"


def _walk(root: Path) -> list[LocalFile]:
    """Every file below `root` that is not junk, symbolic links followed."""
    files: list[LocalFile] = []
    ancestors = {root: {root.resolve()}}
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_unreadable):
        here = Path(folder)
        seen = ancestors.pop(here)
        subfolders[:] = sorted(name for name in subfolders if not _is_junk_folder(here.relative_to(root) / name))
        for name in subfolders:
            real = (here / name).resolve()
            if real in seen:
                raise LocalProblem(f"{here / name} is a symbolic link to a folder that holds it. Remove the link.")
            ancestors[here / name] = seen | {real}
        files.extend(_local_file(root, here / name) for name in names if not _is_junk_file(name))
    return files


def _local_file(root: Path, path: Path) -> LocalFile:
    relative = path.relative_to(root).as_posix()
    try:
        relative.encode()
        size_bytes = path.stat().st_size
    except UnicodeEncodeError as error:
        raise LocalProblem(f"The name of {relative!r} is not UTF-8. Rename the file.") from error
    except OSError as error:
        why = "is a symbolic link to nothing" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise LocalProblem(f"{path} {why}. Download the model again, or remove it.") from error
    if not path.is_file():
        raise LocalProblem(f"{path} is not a regular file. Remove it.")
    return LocalFile(unicodedata.normalize("NFC", relative), path, size_bytes)


def _is_junk_folder(relative: Path) -> bool:
    return relative.name in _JUNK_DIRS or relative.parts[-2:] == _DOWNLOAD_CACHE


def _is_junk_file(name: str) -> bool:
    return name in _JUNK_FILES or name.startswith("._")


def _unreadable(error: OSError) -> None:
    raise LocalProblem(f"Cannot read {error.filename}: {error.strerror}.") from error
