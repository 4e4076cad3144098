"""The public API as an object: `async with Slipway(...) as api: await api.models.all()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from libs.client.models import Models
from libs.client.operator import Operator
from libs.client.projects import Projects
from libs.client.transport import Transport
from libs.client.uploads import Uploads


class Slipway:
    """A connection to one Slipway with one key.

    A project's key is for `uploads` and `models`, the operator's for `projects` and `operator`.
    `base_url`: `http(s)://HOST/{project_id}/v1`, or `http(s)://HOST/v1`, where the key names the project.
    """

    def __init__(self, base_url: str, key: str | None, *, on_retry: Callable[[str], None] | None = None) -> None:
        self._base_url = base_url
        self._key = key
        self._on_retry = on_retry

    async def __aenter__(self) -> Self:
        self._transport = Transport(self._base_url, self._key)
        if self._on_retry is not None:
            self._transport.on_retry = self._on_retry
        self.uploads = Uploads(self._transport)
        self.models = Models(self._transport)
        self.projects = Projects(self._transport)
        self.operator = Operator(self._transport)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()
