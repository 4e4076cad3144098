"""The catalog: models that any project may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from libs.client.paging import AsyncItems
from libs.client.responses import CatalogModel, Page

if TYPE_CHECKING:
    from libs.client.transport import Transport


class Catalog:
    """`catalog` of the public API: models that their projects share. Every call raises ApiError or Unreachable."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        q: str | None = None,
        *,
        architecture: str | None = None,
        workload_type: str | None = None,
        format: str | None = None,  # noqa: A002  # as the field is called
        quantization: str | None = None,
        owner: str | None = None,
    ) -> AsyncItems[CatalogModel]:
        """The shared models, the last shared first.

        `q` is looked for in name, architecture and description, in any case; the others are compared as a whole.
        `owner` is the slug of a project.
        """

        async def fetch(query: Mapping[str, str]) -> Page[CatalogModel]:
            return await self._transport.call("GET", "catalog", Page[CatalogModel], query=query)

        return AsyncItems(
            fetch,
            lambda model: model.id,
            q=q,
            architecture=architecture,
            workload_type=workload_type,
            format=format,
            quantization=quantization,
            owner=owner,
        )

    async def get(self, model_id: str) -> CatalogModel:
        """One shared model, by its id. Raises: NotFoundError if it is not shared."""
        return await self._transport.call("GET", f"catalog/{quote(model_id, safe='')}", CatalogModel)
