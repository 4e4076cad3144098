"""`make bench`: every goal of ours beside its peer, in one run on one machine, as a table and as JSON.

For a quiet machine; takes about ten minutes. `python -m tests.bench --only archive --only memory` runs some rows.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from tests.bench import answers, registry, simulation, uploads
from tests.bench.rows import Measure, Row, row, show, write
from tests.bench.stage import FULL, TINY, Sizes, Stage
from tests.bench.unpacking import unpacking

RESULTS = Path("bench-results")
MEASURES = {
    "part": Measure("gateway: PUT of a part", "MB/s", uploads.gateway_put, 0.85),
    "directory": Measure("directory by the CLI, to ready", "MB/s", uploads.directory, 1.2),
    "changed": Measure("one of four shards changed", "s", uploads.changed_shard, 0.3, "at most"),
    "archive": Measure(".tar.gz by the CLI, to ready", "s", uploads.archive, 1.2, "at most"),
    "small": Measure("small model, complete to ready, p50", "ms", answers.small_model, 50, "at most"),
    "get": Measure("GET models/{id}", "1/s", answers.get_model, 0.6),
    "list": Measure("GET models of a large project", "1/s", registry.list_models, 0.5),
    "slowest": Measure("large project: slowest answers, p99", "ms", registry.slowest_answers, 20, "at most"),
    "read": Measure("bytes read to validate", "bytes", answers.bytes_read, 0.01, "at most"),
    "memory": Measure("gateway's peak, uploads at once", "MB", uploads.memory, 150, "at most"),
    "far": Measure("extraction, store 50 ms away", "MB/s", uploads.far_store, 0.9),
    "unpacking": Measure("unpacking .tar.gz, beside tarfile", "MB/s", unpacking, 1.2),
    "open": Measure("open uploads at rest", "tx/s", simulation.open_uploads),
}
WITHOUT_DOWNLOADS = MEASURES | {"directory": Measure("directory by the CLI, to ready", "MB/s", uploads.directory_alone)}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)), help="This row; may be repeated.")
@click.option("--share", type=click.FloatRange(0.05, 1), default=1.0, help="That share of the sizes, to see sooner.")
@click.option("--tiny", is_flag=True, help="Sizes that show that everything works, and nothing else; no downloads.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, show_default=True)
def bench(only: tuple[str, ...], share: float, tiny: bool, results: Path) -> None:
    """Measure, print a table, and write it as JSON. Exit code 1 if a row could not be measured."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    measures = WITHOUT_DOWNLOADS if tiny else MEASURES
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", ignore_cleanup_errors=True) as folder:
        chosen = [measures[name] for name in only or measures]
        rows = asyncio.run(_measured(chosen, Path(folder), TINY if tiny else FULL.share(share), console))
    show(rows, console)
    console.print(f"\nWritten to {write(rows, {'commit': _commit(), 'share': 0 if tiny else share}, results)}")
    sys.exit(1 if any(each.failed for each in rows) else 0)


async def _measured(measures: list[Measure], folder: Path, sizes: Sizes, console: Console) -> list[Row]:
    rows = []
    async with Stage.open(folder, sizes, console.print) as stage:
        for measure in measures:
            rows.append(await row(measure, stage))
            console.print(rows[-1], markup=False)
    return rows


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


if __name__ == "__main__":
    bench()
