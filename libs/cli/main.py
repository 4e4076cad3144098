"""The `slipway` command: one place where errors become a line and an exit code."""

from __future__ import annotations

import sys

import click

from libs.cli.admin import admin
from libs.cli.context import Context, print_json, shared_options
from libs.cli.models import models
from libs.cli.upload import upload
from libs.cli.uploads import uploads
from libs.client import ApiError
from libs.errors import SlipwayError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Slipway(click.Group):
    """The commands; `up` is looked up when it is asked for, since it needs the `local` extra."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "up"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _up() if name == "up" else super().get_command(ctx, name)


@click.group(cls=Slipway, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
@shared_options
def slipway() -> None:
    """Upload, verify and use models on your own hardware."""


for _command in (upload, models, uploads, admin):
    slipway.add_command(_command)


def _up() -> click.Command:
    try:
        from deploy.local.command import up
    except ImportError as error:
        return _unavailable(error)
    return up


def _unavailable(error: ImportError) -> click.Command:
    @click.command("up", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def up() -> None:
        """Run the whole stack on this machine (needs the `local` extra)."""
        raise click.ClickException(f"{error}. `slipway up` needs the embedded stack: pip install 'slipway[local]'")

    return up


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
        code = refused.error_code if refused else error.code
        finding = refused.finding if refused else None
        print_json({"error": {"message": error.message, "code": code, "param": error.param, "finding": finding}})
    return 1
