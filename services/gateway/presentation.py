"""Formats of values in responses."""

from __future__ import annotations

import math
import mimetypes
from datetime import UTC, datetime

_CONTENT_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".jinja": "text/plain",
    ".bin": "application/octet-stream",
}


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds: 2026-01-15T10:30:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def percent(done: float, total: float) -> float:
    """Two digits, rounded down, as the documents show it (1 of 7 is 14.28): 100 means all."""
    return 100.0 if total == 0 else math.floor(done * 10_000 / total) / 100


def content_type(path: str) -> str:
    """The content type for a path by its suffix; weights and unknown files are application/octet-stream."""
    suffix = path[path.rfind(".") :].lower()
    return _CONTENT_TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")


def size_in_words(size_bytes: int) -> str:
    """A size for people, as the documents write it: 4294967296 is "4.00 GB"."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024 or unit == "TB":
            break
        size /= 1024
    return f"{size_bytes} B" if unit == "B" else f"{size:.2f} {unit}"
