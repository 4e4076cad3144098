"""Lists that come in pages, while what is listed comes and goes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from libs.client import AsyncItems, BadRequestError
from libs.client.paging import PAGE_ITEMS
from libs.client.responses import Page


class Server:
    """A list of ids; as the API does, it refuses an `after` that is not there."""

    def __init__(self, count: int) -> None:
        self.ids = [f"i{number}" for number in range(count)]
        self.asked: list[Mapping[str, str]] = []

    async def fetch(self, query: Mapping[str, str]) -> Page[str]:
        self.asked.append(query)
        limit, after = int(query["limit"]), query.get("after")
        if after is not None and after not in self.ids:
            raise BadRequestError(400, "There is none.", code="invalid_request", param="after")
        begin = self.ids.index(after) + 1 if after else 0
        return Page(self.ids[begin : begin + limit], has_more=len(self.ids) > begin + limit)

    def items(self, **query: str | None) -> AsyncItems[str]:
        return AsyncItems(self.fetch, str, **query)


@pytest.mark.parametrize("count", [0, 1, PAGE_ITEMS - 1, PAGE_ITEMS, PAGE_ITEMS + 1, 3 * PAGE_ITEMS])
async def test_every_item_comes_once(count: int) -> None:
    server = Server(count)

    assert await server.items().all() == server.ids
    assert len(server.asked) == max(1, -(-count // PAGE_ITEMS))


async def test_filters_are_asked_for_on_every_page() -> None:
    server = Server(PAGE_ITEMS + 1)

    await server.items(status="ready", name=None).all()

    assert [dict(query) for query in server.asked] == [
        {"status": "ready", "limit": str(PAGE_ITEMS)},
        {"status": "ready", "limit": str(PAGE_ITEMS), "after": f"i{PAGE_ITEMS - 1}"},
    ]


async def test_a_page_whose_end_is_gone_loses_and_doubles_nothing() -> None:
    server = Server(2 * PAGE_ITEMS + 10)
    seen: list[str] = []

    async for item in server.items():
        seen.append(item)
        if len(seen) == PAGE_ITEMS:
            del server.ids[PAGE_ITEMS - 3 : PAGE_ITEMS]

    assert seen == [f"i{number}" for number in range(2 * PAGE_ITEMS + 10)]


async def test_what_is_wrong_otherwise_is_raised() -> None:
    async def fetch(query: Mapping[str, str]) -> Page[str]:
        raise BadRequestError(400, "No.", code="invalid_request", param="status")

    with pytest.raises(BadRequestError, match="No"):
        await AsyncItems(fetch, str).all()
