"""Models of a project."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from libs.client.paging import every_item
from libs.client.responses import Model, ModelFile, ModelPage, ModelReport, ModelSummary, Page
from libs.client.transport import Transport

_PATIENCE_S = 90.0  # so that waiting for a verdict survives a restart of the server


class Models:
    """`models` of the public API; a model is named by its id, or by its name (the latest version)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def all(self) -> list[ModelSummary]:
        """Every model of the project, newest first."""

        async def fetch(query: Mapping[str, str]) -> ModelPage:
            return await self._transport.call("GET", "models", ModelPage, query=query)

        return await every_item(fetch, lambda model: model.id)

    async def get(self, model: str) -> Model:
        """One model with everything that the registry knows."""
        return await self._transport.call(
            "GET", _path(model), Model, query={"extended": "true"}, patience_s=_PATIENCE_S
        )

    async def files(self, model: str) -> list[ModelFile]:
        """Its files, by path."""
        return (await self._transport.call("GET", f"{_path(model)}/files", Page[ModelFile])).data

    async def report(self, model: str) -> ModelReport:
        """The validator's verdict on it."""
        return await self._transport.call("GET", f"{_path(model)}/report", ModelReport)


def _path(model: str) -> str:
    return f"models/{quote(model, safe='')}"
