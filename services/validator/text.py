"""Text of users, as events and databases take it."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    """`text` with at most `most` characters, without NUL and halves of surrogate pairs."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
