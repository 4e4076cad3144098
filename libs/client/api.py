"""The public API as an object: `async with AsyncClient(...) as client: await client.models.get("Qwen3-0.6B")`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from libs.client.catalog import Catalog
from libs.client.digests import DigestCache
from libs.client.errors import ModelRejectedError
from libs.client.imports import Imports
from libs.client.local import inspect
from libs.client.model_upload import PARALLEL, ModelUpload, Outcome
from libs.client.models import Models
from libs.client.operator import Operator
from libs.client.progress import Progress, ProgressCallback, reported
from libs.client.projects import Projects
from libs.client.responses import Model, Usage
from libs.client.secrets import Secrets
from libs.client.settings import find_settings
from libs.client.uploads import Uploads

PATIENCE_S = 5.0


class AsyncClient:
    """A connection to one Slipway with one key; `async with`, or `await client.close()` in the end.

    `base_url`: `http(s)://HOST/{project_id}/v1`, or `http(s)://HOST/v1`, where the key names the project. What is not
    given comes from SLIPWAY_BASE_URL and SLIPWAY_API_KEY, then from the credentials file that `slipway up` writes:
    `credentials`, SLIPWAY_CREDENTIALS, or .slipway/credentials.json.

    Requests that may safely be sent again are, with growing pauses and as `Retry-After` asks, for `patience_s` seconds
    while the server is busy or gone; `on_retry` is called with a sentence each time. Transfers have more patience.

    `projects` and `operator` take the operator's key, all else a key of the project.

    Raises: LocalProblem if there is no base URL or no key; Unreachable if the base URL is none.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        credentials: str | os.PathLike[str] | None = None,
        patience_s: float = PATIENCE_S,
        on_retry: Callable[[str], object] | None = None,
    ) -> None:
        # aiohttp takes longer to import than all else; who only asks for `slipway --help` need not wait for it.
        from libs.client.transport import Transport

        base_url, api_key = _settings(base_url, api_key, credentials)
        self._transport = Transport(base_url, api_key, patience_s=patience_s)
        if on_retry is not None:
            self._transport.on_retry = on_retry
        self.uploads = Uploads(self._transport)
        self.models = Models(self._transport)
        self.catalog = Catalog(self._transport)
        self.secrets = Secrets(self._transport)
        self.imports = Imports(self._transport, self.uploads, self.models)
        self.projects = Projects(self._transport)
        self.operator = Operator(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; whatever is under way breaks off."""
        await self._transport.close()

    async def usage(self) -> Usage:
        """What the project uses, and its limits."""
        return await self._transport.call("GET", "usage", Usage)

    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        version: str | None = None,
        wait: bool = True,
        progress: ProgressCallback | None = None,
        parallel: int = PARALLEL,
    ) -> Model:
        """Upload a model, a directory or an archive of it, and return it as soon as it is ready.

        The same `name` again makes a new version: `version`, or the next one (1.0.0, 1.1.0, …). Interrupted, the same
        call goes on where it stopped: only what the server does not have yet is sent. With `wait=False` the model is
        returned as soon as everything is sent, in status `processing` or later; see `models.wait`.
        `progress(done_bytes, total_bytes)` is called while bytes are sent; `parallel` files, or parts of an archive,
        are sent at a time.

        Raises: ModelRejectedError if the model is in error; RejectedError if its upload is refused; LocalProblem for
        what is on disk.
        """
        source = await asyncio.to_thread(inspect, Path(path))

        async def run(shown: Progress) -> Outcome:
            digests = DigestCache()
            upload = ModelUpload(
                self, source, name, version=version, parallel=parallel, progress=shown, digests=digests
            )
            return await upload.run(wait=wait)

        outcome = await reported(progress, "sending", run)
        if outcome.model is None:
            return await self.models.get(outcome.completed.model_id)
        if outcome.failed:
            raise ModelRejectedError(outcome.model, outcome.report.findings if outcome.report else ())
        return outcome.model


def _settings(base_url: str | None, api_key: str | None, credentials: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The base URL and the key. Raises: LocalProblem, naming every way to give what is missing."""
    if base_url is not None and api_key is not None:
        return base_url, api_key
    given = {"base_url": base_url, "api_key": api_key, "credentials": credentials and os.fspath(credentials)}
    found = find_settings({name: value for name, value in given.items() if value}, os.environ, Path.cwd())
    return found.need("base_url"), found.need("api_key")
