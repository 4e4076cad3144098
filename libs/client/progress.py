"""How an upload or a download reports its progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")

Unit = Literal["bytes", "parts", ""]  # "": of unknown length


class ProgressCallback(Protocol):
    """A function that is called as bytes are transferred, as often as each MiB.

    It runs where the transfer does, so it should be quick. What it raises ends the transfer and is raised to the
    caller; the transfer can be resumed.
    """

    def __call__(self, done_bytes: int, total_bytes: int, /) -> object:
        """`done_bytes` of `total_bytes` are there; fewer than before where some have to be sent again."""


class Step(Protocol):
    """One step that is under way."""

    def advance(self, amount: int) -> None:
        """Add `amount` units; negative if they have to be done again."""


class Progress(Protocol):
    """Shows steps, one after another."""

    def step(self, title: str, total: int, unit: Unit, done: int = 0) -> AbstractContextManager[Step]:
        """Begin a step of `total` units, of which `done` are done already."""

    def note(self, text: str) -> None:
        """Show a sentence that is no progress."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def step(self, title: str, total: int, unit: Unit, done: int = 0) -> Iterator[Step]:
        yield self

    def advance(self, amount: int) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        """Not shown."""


class Counted(Silent):
    """Calls a ProgressCallback about one step, such as "sending"; see `reported`."""

    def __init__(self, callback: ProgressCallback, title: str) -> None:
        self.failure: Exception | None = None
        self.stop: Callable[[], object] = lambda: None  # called when the callback has raised
        self._callback = callback
        self._title = title
        self._done = self._total = 0

    @contextmanager
    def step(self, title: str, total: int, unit: Unit, done: int = 0) -> Iterator[Step]:
        """Count the step of the given title, and no other."""
        if title != self._title:
            yield Silent()
            return
        self._done, self._total = done, total
        self.advance(0)
        yield self

    def advance(self, amount: int) -> None:
        """Call the callback; what it raises is kept in `failure`, and everything stops."""
        if self.failure is not None:
            return
        self._done += amount
        try:
            self._callback(self._done, self._total)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's, and raised to them
            self.failure = error
            self.stop()


async def reported(
    callback: ProgressCallback | None, title: str, work: Callable[[Progress], Coroutine[Any, Any, T]]
) -> T:
    """Do `work`, and report its step `title` to `callback`.

    Raises: what `work` raises; what `callback` raises, rather than taking that for a broken connection.
    """
    if callback is None:
        return await work(Silent())
    counted = Counted(callback, title)
    task = asyncio.create_task(work(counted))
    counted.stop = task.cancel
    try:
        result = await task
    except asyncio.CancelledError:
        if counted.failure is None:
            raise
        raise counted.failure from None
    if counted.failure is not None:
        raise counted.failure
    return result
