"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PAGE_ITEMS = 100  # asked for at once


class ListPage(Protocol[T_co]):
    """One page of a list."""

    @property
    def items(self) -> Sequence[T_co]:
        """The items of this page."""

    @property
    def has_more(self) -> bool:
        """Whether another page follows."""


class AsyncItems(Generic[T]):
    """A list that is read page by page while it is iterated: `async for`, or `await ….all()` for all at once.

    Every iteration begins anew. Items that are created or deleted meanwhile neither hide nor repeat others.
    """

    def __init__(
        self,
        fetch: Callable[[Mapping[str, str]], Awaitable[ListPage[T]]],
        id_of: Callable[[T], str],
        **query: str | None,
    ) -> None:
        """`fetch` gets one page by its query; `query` are filters, those that are None left out."""
        self._fetch = fetch
        self._id_of = id_of
        self._query = {name: value for name, value in query.items() if value is not None}

    async def page(self, after: str | None = None) -> tuple[Sequence[T], str | None]:
        """One page -> its items, and what to give as `after` for the next one: None where there is none."""
        query = {**self._query, "limit": str(PAGE_ITEMS)} | ({"after": after} if after else {})
        page = await self._fetch(query)
        return page.items, self._id_of(page.items[-1]) if page.has_more and page.items else None

    async def __aiter__(self) -> AsyncIterator[T]:
        after: str | None = None
        while True:
            items, after = await self.page(after)
            for item in items:
                yield item
            if after is None:
                return

    async def all(self) -> list[T]:
        """Every item."""
        return [item async for item in self]
