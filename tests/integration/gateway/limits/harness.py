"""A gateway whose operator sets limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp.test_utils import TestClient

from libs.db import connection
from services.gateway.limits import store
from services.gateway.limits.store import Use
from tests.integration.gateway.harness import PROJECT, Uploads

LIMITS = f"/admin/v1/projects/{PROJECT}/limits"
KEY_LIMITS = f"/admin/v1/projects/{PROJECT}/keys/key/limits"


@dataclass
class Limited(Uploads):
    """A gateway as one key of PROJECT uses it, beside its operator."""

    operator: TestClient[Any, Any]

    async def set(self, path: str = LIMITS, status: int = 200, **limits: Any) -> dict[str, Any]:
        """Set limits of the project, or at `path` those of its key."""
        async with self.operator.patch(path, json=limits) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == status, answer
            return answer

    async def show(self, path: str = LIMITS) -> dict[str, Any]:
        async with self.operator.get(path) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    async def usage(self) -> dict[str, Any]:
        return await self.call("GET", "usage")

    async def use(self) -> Use:
        async with connection(self.pool) as tx:
            return await store.use_of(tx, PROJECT)
