"""The bench measures what it says, on sizes too small to mean anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import MEASURES
from tests.bench.rows import Figures, Measure, row
from tests.bench.stage import Stage

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(600)
def test_every_row_can_be_measured_and_is_written_down(tmp_path: Path) -> None:
    """Without MLflow, which would be downloaded."""
    command = [sys.executable, "-m", "tests.bench", "--tiny", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    [written] = tmp_path.iterdir()
    rows = json.loads(written.read_text())["rows"]
    assert [each["name"] for each in rows] == [measure.name for measure in MEASURES.values()]
    assert all(each["ours"] > 0 and not each["failed"] for each in rows)
    assert str(written) in done.stdout.replace("\n", "")
    assert "extraction, store 50 ms away" in done.stdout


@pytest.mark.parametrize(
    ("wanted", "ours", "peer", "met"),
    [
        ("at least", 84.0, 100.0, False),
        ("at least", 85.0, 100.0, True),
        ("at most", 1.0, 1.0, False),
        ("at most", 0.85, None, True),
        ("at most", 0.86, None, False),
    ],
)
async def test_a_goal_is_of_the_ratio_where_there_is_a_peer(
    wanted: str, ours: float, peer: float | None, met: bool
) -> None:
    async def run(_: Stage) -> Figures:
        return Figures(ours, peer)

    found = await row(Measure("name", "s", run, 0.85, wanted), None)  # type: ignore[arg-type]
    assert found.met is met


async def test_a_measure_that_fails_is_a_row_that_says_why() -> None:
    async def run(_: Stage) -> Figures:
        raise RuntimeError("no such store")

    found = await row(Measure("name", "s", run, 1.0), None)  # type: ignore[arg-type]
    assert (found.met, found.failed) == (False, "RuntimeError: no such store")
