"""What the bench says: rows of ours beside a peer's, with a goal; as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from tests.bench.stage import Stage


@dataclass(frozen=True)
class Figures:
    """What was measured: medians of several runs, ours and the peer's in the same unit."""

    ours: float
    peer: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """One row to be: how it is measured, and what is wanted of `ratio` (ours / peer) or of `ours`."""

    name: str
    unit: str
    run: Callable[[Stage], Awaitable[Figures]]
    goal: float | None = None
    wanted: Literal["at least", "at most"] = "at least"


@dataclass(frozen=True)
class Row:
    """One row as printed; `met` is None where there is no goal, `failed` says why there are no figures."""

    name: str
    unit: str
    ours: float | None
    peer: float | None
    ratio: float | None
    goal: str
    met: bool | None
    note: str
    failed: str = ""


async def row(measure: Measure, stage: Stage) -> Row:
    """Measure. An error becomes a row that says so: the other rows are worth having."""
    goal = "" if measure.goal is None else f"{measure.wanted} {measure.goal:g}"
    try:
        figures = await measure.run(stage)
    except Exception as error:  # noqa: BLE001  # reported in the table, and by the exit code
        return Row(measure.name, measure.unit, None, None, None, goal, False, "", f"{type(error).__name__}: {error}")
    ratio = figures.ours / figures.peer if figures.peer else None
    judged = figures.ours if ratio is None else ratio
    met = None
    if measure.goal is not None:
        met = judged >= measure.goal if measure.wanted == "at least" else judged <= measure.goal
    return Row(measure.name, measure.unit, figures.ours, figures.peer, ratio, goal, met, figures.note)


def show(rows: Sequence[Row], console: Console) -> None:
    """The table."""
    table = Table(title="Slipway beside its peers, in one run on one machine", title_justify="left")
    for column in ("", "ours", "peer", "unit", "ratio", "goal", "met", "how"):
        table.add_column(column, justify="right" if column in ("ours", "peer", "ratio") else "left", overflow="fold")
    for each in rows:
        met = "" if each.met is None else "yes" if each.met else "no"
        how = each.failed or each.note
        figures = (_number(each.ours), _number(each.peer), each.unit, _number(each.ratio), each.goal, met, how)
        table.add_row(each.name, *figures)
    console.print(table)


def write(rows: Sequence[Row], facts: dict[str, object], folder: Path) -> Path:
    """The same as JSON, with what the machine is; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}
    path.write_text(json.dumps({"machine": machine, **facts, "rows": [asdict(each) for each in rows]}, indent=2))
    return path


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
