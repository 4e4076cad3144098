"""`slipway up`: the embedded stack in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from deploy.local.errors import CannotRun


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".slipway"),
    show_default=True,
    help="Where all data is kept.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of the API; 0: any free.")
@click.option(
    "--import-objects", is_flag=True, help="Move the objects of an earlier release's data into today's store."
)
def up(data_dir: Path, port: int, import_objects: bool) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    Postgres, NATS, an S3 server and the services run as child processes; all they keep is in the data directory, and
    is there again at the next start.
    """
    from deploy.local.foreground import run_until_told  # what only this needs; `slipway --help` does not wait for it

    try:
        asyncio.run(run_until_told(data_dir, port, import_objects=import_objects))
    except CannotRun as error:
        raise click.ClickException(str(error)) from error
