"""The table of a service's handlers: which events it handles, and how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from libs.contracts import Event, event_type

H = TypeVar("H", bound=Callable[..., Awaitable[list[Event]]])
Prepare = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Registration:
    """The handler of one type of event: `handle(event, tx)`, or `handle(event, tx, prepared)` after `prepare`."""

    handle: Callable[..., Awaitable[list[Event]]]
    prepare: Prepare | None = None
    idempotent: bool = False  # without an inbox row: its effect may be repeated, and it emits nothing


class Handlers:
    """A table of handlers, filled by decorators at import and read by the consumer."""

    def __init__(self, service: str) -> None:
        """`service` names the durable consumer, and the inbox rows."""
        self.service = service
        self.events: dict[str, Registration] = {}  # by tag
        self.letters: dict[str, Registration] = {}  # by the tag of the event in the letter

    def on(
        self, *event_types: type[Event], prepare: Prepare | None = None, idempotent: bool = False
    ) -> Callable[[H], H]:
        """Handle these events with `async (event, tx) -> list[Event]`.

        With `prepare`, an `async (event, context) -> T` that may be slow and runs before the transaction, the handler
        is `async (event, tx, prepared) -> list[Event]`.
        With `idempotent`, no inbox row is written: for handlers whose effect may be repeated, and that return no events
        (RuntimeError if they do).
        """
        return self._into(self.events, event_types, prepare, idempotent)

    def retire(self, *event_types: type[Event]) -> None:
        """Acknowledge these events without effect: an earlier release handled them, and the filter still has them."""
        for kind in event_types:
            _add(self.events, self.service, event_type(kind), Registration(_nothing, idempotent=True))

    def on_dead(self, *event_types: type[Event]) -> Callable[[H], H]:
        """Handle dead letters of these events, of any consumer: `async (letter, event, tx) -> list[Event]`."""
        return self._into(self.letters, event_types, None, idempotent=False)

    def include(self, other: Handlers) -> None:
        """Add the table of one of the service's resources. Raises: ValueError if both handle an event."""
        for mine, theirs in ((self.events, other.events), (self.letters, other.letters)):
            for tag, entry in theirs.items():
                _add(mine, self.service, tag, entry)

    def _into(
        self,
        table: dict[str, Registration],
        event_types: tuple[type[Event], ...],
        prepare: Prepare | None,
        idempotent: bool,
    ) -> Callable[[H], H]:
        def register(work: H) -> H:
            for kind in event_types:
                tag = event_type(kind)
                _add(table, self.service, tag, Registration(work, prepare, idempotent))
            return work

        return register


async def _nothing(_event: Event, _tx: object) -> list[Event]:
    return []


def _add(table: dict[str, Registration], service: str, tag: str, entry: Registration) -> None:
    if tag in table:
        raise ValueError(f"{service} handles {tag} twice")
    table[tag] = entry
