"""Numbers, times and states as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.text import Text

_COLOURS = {
    "ready": "green",
    "active": "green",
    "completed": "green",
    "error": "red",
    "failed": "red",
    "aborted": "yellow",
    "expired": "yellow",
}
_STEPS = ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_THOUSANDS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def colour(status: str) -> str:
    """The colour of a state: green if it succeeded, red if it failed, yellow if it was aborted, else cyan."""
    return _COLOURS.get(status, "cyan")


def state(status: str) -> Text:
    """A status in its colour."""
    return Text(f"● {status}", colour(status))


def ago(moment: str | None, now: datetime | None = None) -> str:
    """How long ago `moment` (RFC 3339) was, e.g. "3 minutes ago"."""
    if moment is None:
        return ""
    passed = int(((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds())
    for seconds, unit in _STEPS:
        if passed >= seconds:
            count = passed // seconds
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "now"


def until(moment: str | None) -> str:
    """A moment to come (RFC 3339) in the time zone of this machine, e.g. "2026-11-29 14:05 CET"."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z") if moment else ""


def counted(count: int, noun: str) -> str:
    """A number of things: "1 model", "2 models"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def short(count: int) -> str:
    """A count as models are named after: 22.7M, 7.0B."""
    for size, letter in _THOUSANDS:
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return str(count)
