"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from libs.client.errors import BadRequestError

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

    async def page(self, after: Sequence[str] = ()) -> tuple[Sequence[T], Sequence[str]]:
        """One page -> its items, and what to give as `after` for the next one: nothing where there is none.

        `after` are the ids of a page: where its last item is gone by now, the next page begins after the one before.
        """
        known = set(after)
        page = await self._after(after)
        items = [item for item in page.items if self._id_of(item) not in known]
        return items, [self._id_of(item) for item in items] if page.has_more else ()

    async def _after(self, ids: Sequence[str]) -> ListPage[T]:
        query = {**self._query, "limit": str(PAGE_ITEMS)}
        if not ids:
            return await self._fetch(query)
        try:
            return await self._fetch({**query, "after": ids[-1]})
        except BadRequestError as error:
            if error.param != "after" or len(ids) == 1:
                raise
        return await self._after(ids[:-1])

    async def __aiter__(self) -> AsyncIterator[T]:
        after: Sequence[str] = ()
        while True:
            items, after = await self.page(after)
            for item in items:
                yield item
            if not after:
                return

    async def all(self) -> list[T]:
        """Every item."""
        return [item async for item in self]
