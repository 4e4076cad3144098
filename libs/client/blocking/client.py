"""AsyncClient for programs without an event loop."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Self

from libs.client.api import PATIENCE_S, AsyncClient
from libs.client.blocking.loop import LoopThread
from libs.client.blocking.resources import SyncCatalog, SyncImports, SyncModels, SyncSecrets, SyncUploads
from libs.client.model_upload import PARALLEL
from libs.client.progress import ProgressCallback
from libs.client.responses import Model, Usage


class Client:
    """A connection to one Slipway with one key of a project; `with`, or `client.close()` in the end.

    What AsyncClient can do with a project's key, with the same arguments; every call waits for its answer. The work is
    done in a thread of the client's own, which calls `progress` and `on_retry` as well. A client may be used by
    several threads, and where an event loop runs. Ctrl-C ends a transfer cleanly: the same call goes on later.

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
        self._client = AsyncClient(base_url, api_key, credentials=credentials, patience_s=patience_s, on_retry=on_retry)
        self._loop = LoopThread()
        # also where nobody closes it: when it is collected, or the program ends
        self._close = weakref.finalize(self, _close, self._loop, self._client)
        self.uploads = SyncUploads(self._loop, self._client.uploads)
        self.models = SyncModels(self._loop, self._client.models)
        self.catalog = SyncCatalog(self._loop, self._client.catalog)
        self.secrets = SyncSecrets(self._loop, self._client.secrets)
        self.imports = SyncImports(self._loop, self._client.imports)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; whatever is under way breaks off."""
        self._close()

    def usage(self) -> Usage:
        """What the project uses, and its limits."""
        return self._loop.run(self._client.usage())

    def upload(
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
        return self._loop.run(
            self._client.upload(path, name=name, version=version, wait=wait, progress=progress, parallel=parallel)
        )


def _close(loop: LoopThread, client: AsyncClient) -> None:
    loop.finish(client.close())
