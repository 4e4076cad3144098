"""`slipway admin limits`: what projects and keys may use at most."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.text import Text

from libs.cli.context import Context, pass_context, shared_options
from libs.cli.views import table
from libs.client.operator import Limits

_AMOUNT = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?$", re.IGNORECASE)
_UNITS = ("", "k", "m", "g", "t", "p")


@click.group()
def limits() -> None:
    """Show and set what a project, or one of its keys, may use at most."""


_project = click.argument("project_id", metavar="PROJECT")
_key = click.option("--key", "key_id", metavar="ID", help="The limits of this key of the project, beside its own.")


@limits.command("show")
@_project
@_key
@shared_options
@pass_context
def show_limits(shared: Context, project_id: str, key_id: str | None) -> None:
    """Show the limits of a project."""
    found = shared.as_operator(lambda api: api.operator.limits(project_id, key_id))
    shared.print_result(found, lambda console: _show(console, found))


@limits.command("set")
@_project
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
@_key
@shared_options
@pass_context
def set_limits(shared: Context, project_id: str, changes: tuple[str, ...], key_id: str | None) -> None:
    """Set limits of a project: `stored_bytes=10GB models=500`.

    VALUE is a number, with a unit where it is large (GB, GiB); `none` for no limit; `default` for the installation's.
    """
    wanted = _wanted(changes)
    changed = shared.as_operator(lambda api: api.operator.set_limits(project_id, wanted, key_id))
    shared.print_result(changed, lambda console: _show(console, changed))


def _wanted(changes: Sequence[str]) -> dict[str, int | str | None]:
    """What `changes` say, for the API. Raises: click.UsageError."""
    wanted: dict[str, int | str | None] = {}
    for change in changes:
        name, assigned, value = change.partition("=")
        if not assigned:
            raise click.UsageError(f"'{change}' is no NAME=VALUE; say for example stored_bytes=10GB.")
        wanted[name.strip()] = _value(name, value.strip())
    return wanted


def _value(name: str, text: str) -> int | str | None:
    if text.lower() in ("none", "default"):
        return "none" if text.lower() == "none" else None
    amount = _AMOUNT.match(text.replace("_", ""))
    if amount is None:
        raise click.UsageError(f"'{text}' is no value for {name}; give a number, as 10GB or 500, none, or default.")
    number, unit, binary = amount.groups()
    factor: int = (1024 if binary else 1000) ** _UNITS.index(unit.lower())
    if "." in number and factor == 1:
        raise click.UsageError(f"{name} counts whole numbers; '{text}' is none.")
    return round(float(number) * factor) if "." in number else int(number) * factor


def _show(console: Console, found: Limits) -> None:
    rows: list[Sequence[RenderableType]] = [
        (name, _shown(name, limit.maximum), _own(name, limit.own), _shown(name, limit.default))
        for name, limit in found.limits.items()
    ]
    table(console, ("limit", ">holds", ">own", ">default"), rows, "There are no limits.")


def _own(name: str, own: int | str | None) -> RenderableType:
    return Text("", "dim") if own is None else _shown(name, None if isinstance(own, str) else own)


def _shown(name: str, maximum: int | None) -> RenderableType:
    if maximum is None:
        return Text("none", "dim")
    return decimal(maximum) if name.endswith("_bytes") else f"{maximum:,}"
