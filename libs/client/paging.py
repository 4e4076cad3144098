"""Reads lists that come in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PAGE_ITEMS = "100"  # the most that the server answers at once


class ListPage(Protocol[T_co]):
    """One page of a list."""

    @property
    def items(self) -> Sequence[T_co]:
        """The items of this page."""

    @property
    def has_more(self) -> bool:
        """Whether another page follows."""


async def every_item(
    fetch: Callable[[Mapping[str, str]], Awaitable[ListPage[T]]], id_of: Callable[[T], str], **query: str | None
) -> list[T]:
    """All items of all pages. `fetch` gets one page by its query; `query` are filters, those that are None left out."""
    wanted = {name: value for name, value in query.items() if value is not None} | {"limit": PAGE_ITEMS}
    found: list[T] = []
    while True:
        page = await fetch(wanted)
        found += page.items
        if not page.has_more or not page.items:
            return found
        wanted["after"] = id_of(page.items[-1])
