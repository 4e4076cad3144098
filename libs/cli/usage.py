"""`slipway usage`: what the project uses, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.text import Text

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.formatting import counted
from libs.cli.views import table
from libs.client import LimitUse, Usage

_NEARLY = 0.9  # of a limit


@click.command()
@shared_options
@pass_context
def usage(shared: Context) -> None:
    """Show what the project uses, and its limits."""
    found = shared.with_api(lambda api: api.usage())
    shared.print_result(found, lambda console: _show(console, found))


def _show(console: Console, usage: Usage) -> None:
    models, objects = counted(usage.models, "model"), counted(usage.objects, "object")
    counts = f"{models}, {objects}, {decimal(usage.stored_bytes)} stored"
    more = [
        f"{decimal(usage.reserved_bytes)} reserved for open uploads" if usage.reserved_bytes else "",
        f"{usage.validating} being validated" if usage.validating else "",
        f"{usage.restorable_models} deleted and restorable" if usage.restorable_models else "",
    ]
    console.print(", ".join(filter(None, [counts, *more])), markup=False, soft_wrap=True)
    rows = [*_rows("project", usage.limits), *_rows("this key", usage.key)]
    table(console, ("limit", "of", ">used", ">at most"), rows, "No limits.")


def _rows(of: str, limits: Mapping[str, LimitUse]) -> list[Sequence[RenderableType]]:
    return [(name, of, _amount(name, use.used, use), _amount(name, use.limit, None)) for name, use in limits.items()]


def _amount(name: str, amount: int | None, use: LimitUse | None) -> Text:
    """In words; red once it is nearly the limit of `use`."""
    if amount is None:
        return Text("no limit", "dim")
    nearly = use is not None and use.limit is not None and use.used >= _NEARLY * use.limit
    return Text(decimal(amount) if name.endswith("_bytes") else f"{amount:,}", "red" if nearly else "")
