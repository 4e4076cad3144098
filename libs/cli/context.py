"""What every command shares: options, standard output and standard error, and calls of the API."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from libs.client import AsyncClient
from libs.client.settings import find_settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_PIPED_COLUMNS = 200  # a pipe has no width; nothing may be cut in what a program reads


class Context:
    """One run of the command: flags, standard output for results, standard error for people."""

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.json = False
        self.out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
        self.err = Console(stderr=True, highlight=False)
        self.on_interrupt: Callable[[], str] = lambda: "Interrupted."

    def note(self, text: str) -> None:
        """Print one line for people, to standard error."""
        self.err.print(text, style="dim", markup=False, soft_wrap=True)

    def print_result(self, document: object, show: Callable[[Console], None]) -> None:
        """Print the result: with --json `document` as JSON, otherwise what `show` prints."""
        if self.json:
            print_json(document)
        else:
            show(self.out)

    def with_api(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Run `work` with the project's key."""
        return self._run(work, "api_key")

    def as_operator(self, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Run `work` with the operator key."""
        return self._run(work, "operator_key")

    def _run(self, work: Callable[[AsyncClient], Awaitable[T]], which: str) -> T:
        settings = find_settings(self.flags, os.environ, Path.cwd())

        async def connected() -> T:
            async with AsyncClient(settings.need("base_url"), settings.need(which), on_retry=self.note) as api:
                return await work(api)

        return asyncio.run(connected())


def print_json(document: object) -> None:
    """Exactly one JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    shared = context.ensure_object(Context)
    if option.name == "json":
        shared.json = shared.json or bool(value)
    elif value is not None and option.name is not None:
        shared.flags[option.name] = value


def shared_options(command: F) -> F:
    """The options that every command takes, before or after its name."""
    for flag, text in (
        ("--credentials", "Credentials file, as `slipway up` writes it [SLIPWAY_CREDENTIALS]."),
        ("--operator-key", "The operator key, for `admin` [SLIPWAY_OPERATOR_KEY]."),
        ("--api-key", "A key of the project [SLIPWAY_API_KEY]."),
        ("--base-url", "Like http://127.0.0.1:8080/proj_ABC123/v1 [SLIPWAY_BASE_URL]."),
    ):
        command = click.option(flag, help=text, expose_value=False, callback=_remember, metavar="TEXT")(command)
    return click.option(
        "--json", is_flag=True, help="One JSON document on standard output.", expose_value=False, callback=_remember
    )(command)


pass_context = click.make_pass_decorator(Context, ensure=True)
