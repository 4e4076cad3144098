"""The `slipway` command. Errors become one line and an exit code here, and nowhere else."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from libs.cli.admin import admin
from libs.cli.context import Context, print_json, shared_options
from libs.cli.models import models
from libs.cli.uploads import upload, uploads
from libs.client import ApiError
from libs.errors import SlipwayError

COMMANDS = "slipway.commands"  # the entry-point group of further commands
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
    """The command of an entry point; if a package that it needs is missing, a command that says which extra has it."""
    try:
        command = entry.load()
    except ImportError as error:
        return _unavailable(entry, error)
    if not isinstance(command, click.Command):
        raise click.ClickException(f"The entry point {entry.name} = {entry.value} is not a click command.")
    return command


def _unavailable(entry: EntryPoint, error: ImportError) -> click.Command:
    extras = ",".join(entry.extras)
    package = f"{entry.dist.name}[{extras}]" if entry.dist is not None and extras else "slipway"

    def explain() -> None:
        raise click.ClickException(f"{error}. `slipway {entry.name}` needs more packages: pip install '{package}'")

    return click.Command(
        entry.name,
        callback=explain,
        help=f"Not available: pip install '{package}'",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
@shared_options
def slipway() -> None:
    """Upload, verify and use models on your own hardware."""


for _command in (upload, models, uploads, admin):
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
    if refused and refused.request_id and refused.status >= 500:
        shared.note(f"Request {refused.request_id}")
    if shared.json:
        code = error.code
        finding = refused.finding if refused else None
        print_json({"error": {"message": error.message, "code": code, "param": error.param, "finding": finding}})
    return 1
