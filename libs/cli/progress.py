"""Progress for people: bars on a terminal, a line now and then elsewhere. Both on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from libs.client import Step
from libs.client.progress import Unit

_LINE_EVERY_S = 5.0


class Bars:
    """One bar a step, with rate and time left; finished ones stay above."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=30),
            _Amount(),
            _Pace(),
            console=console,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, title: str, total: int, unit: Unit, done: int = 0) -> Iterator[Step]:
        task = self._progress.add_task(title, total=total if unit else None, completed=done, unit=unit, before=done)
        yield _Bar(self._progress, task)
        amount = int(self._progress.tasks[-1].completed)
        self._progress.update(
            task, total=total if unit else max(amount, 1), completed=total if unit else max(amount, 1)
        )
        self._progress.stop_task(task)

    def note(self, text: str) -> None:
        self._progress.console.print(text, style="dim", markup=False, soft_wrap=True)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)


class _Amount(ProgressColumn):
    """How much of how much."""

    def render(self, task: Task) -> Text:
        done = int(task.completed)
        if task.fields["unit"] == "bytes" and task.total:
            return Text(f"{decimal(done)} of {decimal(int(task.total))}")
        return Text(decimal(done) if done > 1 else "")


class _Pace(ProgressColumn):
    """Bytes a second and the time left, or the time taken once it is over."""

    _elapsed = TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        if task.finished:
            took = task.finished_time or 0.0
            moved = task.completed - task.fields["before"]
            rate = f", {decimal(int(moved / took))}/s" if took > 0.5 and moved > 1 and task.fields["unit"] else ""
            return Text(f"{took:.1f} s{rate}", style="dim")
        rate = f"{decimal(int(task.speed))}/s" if task.speed else ""
        left = f"{task.time_remaining:.0f} s left" if task.time_remaining else ""
        return Text("  ".join(filter(None, (rate, left))) or f"{task.elapsed or 0:.0f} s", style="cyan")


class Lines:
    """A line at the start and the end of each step, and every few seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left on the screen."""

    @contextmanager
    def step(self, title: str, total: int, unit: Unit, done: int = 0) -> Iterator[Step]:
        line = _Line(self._console, title, total, done)
        yield line
        line.end()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class _Line:
    def __init__(self, console: Console, title: str, total: int, done: int) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = self._before = done
        self._started = self._told = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._told >= _LINE_EVERY_S:
            self._told = now
            self._say(now - self._started, done=False)

    def end(self) -> None:
        self._say(time.monotonic() - self._started, done=True)

    def _say(self, took: float, *, done: bool) -> None:
        parts = [f"{self._title:<10}"]
        if self._total:
            parts.append(f"{100 * self._done // self._total:>3} %  {decimal(self._done)} of {decimal(self._total)}")
        rate = (self._done - self._before) / took if took > 0 else 0.0
        if rate >= 1:
            parts.append(f"{decimal(int(rate))}/s")
        if done:
            parts.append(f"{took:.1f} s")
        elif rate >= 1 and self._total:
            parts.append(f"{(self._total - self._done) / rate:.0f} s left")
        self._console.print("  ".join(parts), markup=False, soft_wrap=True)


def shown_on(console: Console) -> Bars | Lines:
    """Bars where they can be drawn, lines elsewhere."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)
