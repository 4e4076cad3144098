"""The `slipway` command. Errors become one line and an exit code here, and nowhere else."""

from __future__ import annotations

import copy
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from libs.cli.admin import admin
from libs.cli.catalog import catalog
from libs.cli.context import Context, print_json, shared_options
from libs.cli.imports import import_model
from libs.cli.model_changes import CHANGES
from libs.cli.models import models
from libs.cli.secrets import secrets
from libs.cli.uploads import upload, uploads
from libs.cli.usage import usage
from libs.client import ApiError
from libs.errors import SlipwayError

COMMANDS = "slipway.commands"  # the entry-point group of further commands
_NEXT = {  # by the code of an error: the command to go on with
    "authentication_error": "Give another key with --api-key or SLIPWAY_API_KEY; for one: slipway admin key create",
    "feature_not_enabled": "Operators enable it: slipway admin features enable PROJECT model_sharing",
    "file_missing": "Upload the same directory again: slipway upload",
    "model_not_found": "See: slipway models list, and slipway models list --deleted",
    "quota_exceeded": "See: slipway usage",
}
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class CommandGroup(click.Group):
    """The built-in commands, and those that installed packages add as entry points of the group `slipway.commands`.

    An added command is imported only when it is run: `slipway up` needs the `local` extra, everything else does not.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry_points(group=COMMANDS).names)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if built_in := super().get_command(ctx, name):
            return built_in
        added = entry_points(group=COMMANDS, name=name)
        return _loaded(next(iter(added))) if added else None


def _loaded(entry: EntryPoint) -> click.Command:
    """The command of an entry point; if a package that it needs is missing, running it says which extra has it."""
    try:
        command = entry.load()
    except ImportError as error:
        return _unavailable(entry, error)
    if not isinstance(command, click.Command):
        raise click.ClickException(f"The entry point {entry.name} = {entry.value} is not a click command.")
    command, run = copy.copy(command), command.callback

    def explained(*arguments: Any, **options: Any) -> Any:
        try:
            return run(*arguments, **options) if run is not None else None
        except ModuleNotFoundError as error:
            raise _needs_more(entry, error) from error

    command.callback = explained
    return command


def _unavailable(entry: EntryPoint, error: ImportError) -> click.Command:
    def explain() -> None:
        raise _needs_more(entry, error)

    return click.Command(
        entry.name,
        callback=explain,
        help=f"Not available: pip install '{_package(entry)}'",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _needs_more(entry: EntryPoint, error: ImportError) -> click.ClickException:
    return click.ClickException(f"{error}. `slipway {entry.name}` needs more packages: pip install '{_package(entry)}'")


def _package(entry: EntryPoint) -> str:
    """What to install for a command: its package, with the extras that its entry point names."""
    extras = ",".join(entry.extras)
    return f"{entry.dist.name}[{extras}]" if entry.dist is not None and extras else "slipway"


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
@shared_options
def slipway() -> None:
    """Upload, verify and use models on your own hardware."""


for _change in CHANGES:
    models.add_command(_change)
for _command in (upload, models, uploads, import_model, secrets, catalog, usage, admin):
    slipway.add_command(_command)


def main() -> None:
    """Run the command; every failure is one line on standard error, and one JSON document with --json."""
    shared = Context()
    try:
        code = slipway.main(prog_name="slipway", standalone_mode=False, obj=shared)
        sys.exit(code)
    except SlipwayError as error:
        sys.exit(_failed(shared, error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        shared.err.print(shared.on_interrupt(), markup=False, soft_wrap=True)
        sys.exit(INTERRUPTED)


def _failed(shared: Context, error: SlipwayError) -> int:
    refused = error if isinstance(error, ApiError) else None
    shared.err.print(f"Error: {error.message}", style="red", markup=False, soft_wrap=True)
    for wrong in refused.errors if refused else ():
        shared.note(f"{wrong.param}: {wrong.message}")
    if advice := _NEXT.get(error.code):
        shared.note(advice)
    if refused and refused.request_id and refused.status >= 500:
        shared.note(f"Request {refused.request_id}")
    if shared.json:
        code = error.code
        finding = refused.finding if refused else None
        print_json({"error": {"message": error.message, "code": code, "param": error.param, "finding": finding}})
    return 1
