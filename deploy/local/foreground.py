"""The embedded stack in the foreground: says how to use it, and stops it at a signal."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from deploy.local.data_directory import Credentials
from deploy.local.up import running

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_until_told(data_dir: Path, port: int, *, import_objects: bool) -> None:
    """Run the stack until a signal says to stop; a signal during the start ends that. Raises: CannotRun."""
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)

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
