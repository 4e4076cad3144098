"""Version numbers: what the next upload of a name is called."""

from __future__ import annotations

import re
from collections.abc import Iterable

FIRST = "1.0.0"

_NUMBERED = re.compile(r"^(\d{1,9})\.(\d{1,9})\.(\d{1,9})$")


def next_version(existing: Iterable[str]) -> str:
    """One minor above the highest MAJOR.MINOR.PATCH; versions that users named otherwise do not count."""
    numbered = [tuple(map(int, match.groups())) for version in existing if (match := _NUMBERED.match(version))]
    if not numbered:
        return FIRST
    major, minor, _ = max(numbered)
    return f"{major}.{minor + 1}.0"
