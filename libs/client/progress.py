"""The interface by which an upload reports its progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

Unit = Literal["bytes", "parts", ""]  # "": of unknown length


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
