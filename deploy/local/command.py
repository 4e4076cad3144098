"""`slipway up`: the embedded stack in the foreground."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from deploy.local.data_directory import Credentials
from deploy.local.errors import CannotRun
from deploy.local.up import running

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        asyncio.run(_until_told(data_dir, port, import_objects, out, err))
    except CannotRun as error:
        raise click.ClickException(str(error)) from error


async def _until_told(data_dir: Path, port: int, import_objects: bool, out: Console, err: Console) -> None:
    """Run until a signal says to stop; a signal during the start ends that."""

    def say(sentence: str) -> None:
        err.print(sentence, style="yellow", markup=False)

    async def run() -> None:
        err.print(f"Starting Slipway in {data_dir}", style="dim", markup=False)
        async with running(data_dir, port, say, import_earlier=import_objects) as up:
            _explain(out, data_dir, up.credentials)
            await asyncio.Event().wait()

    work = asyncio.create_task(run(), name="slipway up")

    def stop() -> None:
        err.print("Stopping", style="dim")
        work.cancel()

    _on_signal(stop)
    await asyncio.wait([work])
    if not work.cancelled():
        work.result()


def _on_signal(stop: Callable[[], object]) -> None:
    """Call `stop` at the first signal; the ones after it would only interrupt the stopping, which ends by itself."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in STOPPING_SIGNALS:
            loop.add_signal_handler(number, lambda: None)
        stop()

    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, first)


def _explain(out: Console, data_dir: Path, credentials: Credentials) -> None:
    """How to use what runs now."""
    file = data_dir / "credentials.json"
    found_by_itself = data_dir == Path(".slipway")
    option = "" if found_by_itself else f" --credentials {shlex.quote(str(file))}"
    out.print(f"\n[bold green]Slipway is up[/] at [bold]{credentials.base_url}[/]\n")
    for line in (
        f"curl -H 'Authorization: Bearer {credentials.api_key}' {credentials.base_url}/models",
        f"slipway upload ./Qwen3-0.6B --name Qwen3-0.6B{option}",
    ):
        out.print(f"  {line}", markup=False)
    out.print(f"\nCredentials: {file}   Logs: {data_dir / 'logs'}", markup=False)
    out.print("Ctrl-C stops everything; the data stays.", style="dim")
