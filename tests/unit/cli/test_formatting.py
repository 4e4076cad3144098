"""How numbers, times, sizes and progress look."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from libs.cli.formatting import ago, counted, short
from libs.cli.progress import Bars, Lines, shown_on

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (None, ""),
        ("2026-01-15T12:00:00Z", "now"),
        ("2026-01-15T12:00:05Z", "now"),  # a clock ahead of ours
        ("2026-01-15T11:59:59Z", "1 second ago"),
        ("2026-01-15T10:00:00Z", "2 hours ago"),
        ("2026-01-15T14:30:00+03:00", "30 minutes ago"),
        ("2024-01-10T12:00:00Z", "2 years ago"),
    ],
)
def test_ago(moment: str | None, expected: str) -> None:
    assert ago(moment, NOW) == expected


@pytest.mark.parametrize(("count", "expected"), [(0, "0 models"), (1, "1 model"), (2, "2 models")])
def test_counted(count: int, expected: str) -> None:
    assert counted(count, "model") == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(999, "999"), (22_713_728, "22.7M"), (7_000_000_000, "7.0B"), (1_040_000_000_000, "1.0T")]
)
def test_short(count: int, expected: str) -> None:
    assert short(count) == expected


def test_lines_where_there_is_no_terminal() -> None:
    """A log gets a line for each step, not a thousand bars."""
    out = io.StringIO()
    progress = shown_on(Console(file=out))

    with progress, progress.step("sending", 2000, "bytes", 1000) as step:
        step.advance(1000)
    progress.note("Done.")

    assert isinstance(progress, Lines)
    [first, second] = out.getvalue().splitlines()
    assert first.startswith("sending     100 %  2.0 kB of 2.0 kB")
    assert second == "Done."


def test_bars_on_a_terminal() -> None:
    out = io.StringIO()
    progress = shown_on(Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm"}))

    with progress:
        with progress.step("sending", 2000, "bytes", 1000) as step:
            step.advance(1000)
        with progress.step("unpacking", 0, "") as step:
            step.advance(500)

    assert isinstance(progress, Bars)
    assert "2.0 kB of 2.0 kB" in out.getvalue()
    assert "unpacking" in out.getvalue()
