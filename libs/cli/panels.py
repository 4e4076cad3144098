"""The panel that shows one model, upload or audit, and the table of facts in it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from libs.cli.formatting import colour


def panel(name: str, detail: str, status: str, *parts: RenderableType) -> Panel:
    """`parts` below each other in a frame in the colour of `status`, titled with `name` and, dimmer, `detail`."""
    title = Text.assemble((name, "bold"), (f" {detail}".rstrip(), "dim"))
    return Panel(Group(*parts), title=title, title_align="left", expand=False, border_style=colour(status))


def fact_table(known: Mapping[str, RenderableType | None]) -> Table:
    """One line for each fact; facts that are None are left out."""
    grid = Table.grid(padding=(0, 2))
    for name, value in known.items():
        if value is not None:
            grid.add_row(Text(name, "dim"), Text(value) if isinstance(value, str) else value)
    return grid
