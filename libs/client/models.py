"""Models of a project."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import UNSET, UnsetType

from libs.client.downloads import Download
from libs.client.errors import ApiError, LocalProblem, ModelRejectedError
from libs.client.paging import AsyncItems
from libs.client.progress import Progress, ProgressCallback, reported
from libs.client.responses import (
    CatalogInfo,
    DeletedModel,
    Model,
    ModelFile,
    ModelPage,
    ModelReport,
    ModelSummary,
    Page,
    Revalidation,
    Sharing,
)

if TYPE_CHECKING:
    from libs.client.transport import Sink, Transport

PATIENCE_S = 90.0  # so that waiting for a verdict, or a download, survives a restart of the server
PARALLEL_FILES = 4
DECIDED = frozenset({"ready", "active", "error"})

_FIRST_LOOK_S = 0.02  # a verdict on a small model takes less than a tenth of a second


class Models:
    """`models` of the public API. Wherever a model is asked for: its id, or its name for the latest version.

    Every call raises ApiError or Unreachable; NotFoundError where the project has no such model.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, name: str | None = None, status: str | None = None, deleted: bool = False
    ) -> AsyncItems[ModelSummary]:
        """The project's models, every version, newest first; only those of a name, or in a status.

        With `deleted`, those that were deleted and can be restored instead.
        """

        async def fetch(query: Mapping[str, str]) -> ModelPage:
            return await self._transport.call("GET", "models", ModelPage, query=query)

        gone = "true" if deleted else None
        return AsyncItems(fetch, lambda model: model.id, name=name, status=status, deleted=gone)

    async def get(self, model: str) -> Model:
        """One model with everything that the registry knows."""
        return await self._transport.call("GET", _path(model), Model, query={"extended": "true"}, patience_s=PATIENCE_S)

    async def update(
        self,
        model: str,
        *,
        description: str | UnsetType | None = UNSET,
        license: str | UnsetType | None = UNSET,  # noqa: A002  # as the field is called
        architecture: str | UnsetType | None = UNSET,
        quantization: str | UnsetType | None = UNSET,
        context_length: int | UnsetType | None = UNSET,
        parameter_count: int | UnsetType | None = UNSET,
        hidden_size: int | UnsetType | None = UNSET,
        num_layers: int | UnsetType | None = UNSET,
        vocab_size: int | UnsetType | None = UNSET,
        workload_type: str | UnsetType = UNSET,
    ) -> Model:
        """Change what the registry says of a model: the given fields; None clears one.

        `license`: an identifier such as Apache-2.0; `architecture`: such as LlamaForCausalLM; `quantization`: a method
        of vLLM; `context_length` in tokens; `workload_type`: chat, code, reasoning, embedding or multilingual.
        Raises: BadRequestError, whose `param` names the field; then nothing is changed.
        """
        given = {
            "description": description,
            "license": license,
            "architecture": architecture,
            "quantization": quantization,
            "context_length": context_length,
            "parameter_count": parameter_count,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "vocab_size": vocab_size,
            "workload_type": workload_type,
        }
        changes = {name: value for name, value in given.items() if value is not UNSET}
        return await self._transport.call("PATCH", _path(model), Model, json=changes)

    async def revalidate(self, model: str) -> Revalidation:
        """Have a model checked anew, which is ready or in error; `wait` returns when that is done.

        Raises: BadRequestError if it is in another state.
        """
        return await self._transport.call("POST", f"{_path(model)}/revalidate", Revalidation, repeatable=False)

    async def delete(self, model: str) -> DeletedModel:
        """Delete one version: that of the id, or the latest of the name. Until `restorable_until`, `restore` undoes it.

        It is not repeated once the server may have done it, since a name then means the version before.
        """
        return await self._transport.call("DELETE", _path(model), DeletedModel, repeatable=False)

    async def restore(self, model_id: str) -> Model:
        """Bring a deleted model back, by its id; `list(deleted=True)` has it.

        Raises: NotFoundError when its time has passed; ConflictError if its version was uploaded anew.
        """
        return await self._transport.call("POST", f"{_path(model_id)}/restore", Model)

    async def share(self, model: str) -> Sharing:
        """Put a model that is ready into the catalog, where every project may deploy it.

        Raises: PermissionDeniedError without an admin's key, or where the project may not share.
        """
        return await self._transport.call("POST", f"{_path(model)}/share", Sharing)

    async def unshare(self, model: str) -> Sharing:
        """Take a model out of the catalog; endpoints that use it go on.

        Raises: PermissionDeniedError without an admin's key.
        """
        return await self._transport.call("POST", f"{_path(model)}/unshare", Sharing)

    async def catalog_info(self, model: str) -> CatalogInfo:
        """What a shared model is in the catalog: its role and how often it is deployed.

        Raises: NotFoundError if it is not shared.
        """
        return await self._transport.call("GET", f"{_path(model)}/catalog-info", CatalogInfo)

    def versions(self, model: str) -> AsyncItems[Model]:
        """Every version of the model's name, newest first."""

        async def fetch(query: Mapping[str, str]) -> Page[Model]:
            return await self._transport.call("GET", f"{_path(model)}/versions", Page[Model], query=query)

        return AsyncItems(fetch, lambda version: version.id)

    def files(self, model: str) -> AsyncItems[ModelFile]:
        """Its files, by path."""

        async def fetch(query: Mapping[str, str]) -> Page[ModelFile]:
            return await self._transport.call("GET", f"{_path(model)}/files", Page[ModelFile])

        return AsyncItems(fetch, lambda file: file.path)

    async def report(self, model: str) -> ModelReport:
        """The validator's verdict on it: its findings, each with what to do."""
        return await self._transport.call("GET", f"{_path(model)}/report", ModelReport)

    async def wait(self, model: str, *, timeout_s: float | None = None) -> Model:
        """Return the model as soon as it is ready.

        Raises: ModelRejectedError if it is in error; TimeoutError after `timeout_s` seconds, where that is given.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _FIRST_LOOK_S
        while True:
            found = await self.get(model)
            if found.status == "error":
                raise await self.rejection(found)
            if found.status in DECIDED:
                return found
            if give_up_at is not None and time.monotonic() + pause_s > give_up_at:
                raise TimeoutError(f"Model {found.name} is still {found.status} after {timeout_s:g} seconds.")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.3, 1.0)

    async def rejection(self, model: Model) -> ModelRejectedError:
        """The error that says why `model` is in error, with its findings where it was checked."""
        try:
            return ModelRejectedError(model, (await self.report(model.id)).findings)
        except ApiError as error:
            if error.status != 404:
                raise
            return ModelRejectedError(model)

    async def download(
        self,
        model: str,
        to: str | os.PathLike[str],
        *,
        files: Collection[str] | None = None,
        progress: ProgressCallback | None = None,
        parallel: int = PARALLEL_FILES,
    ) -> Path:
        """Write the model's files into the folder `to`, which is made; only those in `files`, where that is given.

        Each file is verified by its SHA-256. Interrupted, the same call goes on where it stopped; what is there
        already is not transferred again. `progress(done_bytes, total_bytes)` is called meanwhile; `parallel` files
        are transferred at a time. Returns: the folder.

        Raises: LocalProblem if the model has not one of `files`, or a file cannot be written.
        """
        found = (await self.get(model)).id  # one version, also if the name gets another one meanwhile
        there = await self.files(found).all()
        if files is not None and (lacking := set(files) - {file.path for file in there}):
            raise LocalProblem(f"Model {model} has no file {sorted(lacking)[0]!r}.")
        wanted = [file for file in there if files is None or file.path in files]

        async def run(shown: Progress) -> None:
            await self.receive(found, Path(to), wanted, shown, parallel=parallel)

        await reported(progress, "receiving", run)
        return Path(to)

    async def receive(
        self, model_id: str, to: Path, files: Sequence[ModelFile], shown: Progress, *, parallel: int
    ) -> None:
        """Write `files` of a model into `to`, and show the step "receiving": what `download` does."""

        async def stream(file: ModelFile, sink: Sink) -> None:
            path = f"{_path(model_id)}/files/{quote(file.path)}"
            await self._transport.receive(path, sink, patience_s=PATIENCE_S)

        await Download(stream, to, files, parallel).run(shown)


def _path(model: str) -> str:
    return f"models/{quote(model, safe='')}"
