"""A gateway with several projects, each with keys of its own, as real clients and an operator use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp.test_utils import TestClient

from libs.db import Pool, connection
from tests.integration.gateway.serving import OPERATOR_KEY

PROJECTS = "/admin/v1/projects"


@dataclass
class Installation:
    """Requests by any key; projects, keys and models as a test wants them."""

    client: TestClient[Any, Any]
    pool: Pool

    async def call(self, key: str, method: str, path: str, status: int = 200, **request: Any) -> Any:
        """The JSON answer to one request with `key`, which must have this status."""
        url = path if path.startswith("/") else f"/v1/{path}"
        async with self.client.request(method, url, headers={"Authorization": f"Bearer {key}"}, **request) as response:
            body = await response.json()
            assert response.status == status, body
            return body

    async def refused(self, key: str, method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
        """The error of a request that must be refused with this status."""
        error: dict[str, Any] = (await self.call(key, method, path, status, **request))["error"]
        return error

    async def operate(self, method: str, path: str, status: int = 200, **request: Any) -> Any:
        """What the operator is answered; `path` goes on from that of the projects."""
        return await self.call(OPERATOR_KEY, method, f"{PROJECTS}{path}", status, **request)

    async def given_project(self, name: str, *, sharing: bool = True) -> dict[str, Any]:
        """A project, which may share models unless said otherwise."""
        project: dict[str, Any] = await self.operate("POST", "", 201, json={"name": name})
        if sharing:
            await self.operate("PUT", f"/{project['id']}/features/model_sharing")
        return project

    async def given_key(self, project: dict[str, Any], **wanted: Any) -> str:
        """A key of the project: an admin's, unless said otherwise."""
        body = {"role": "admin", **wanted}
        return str((await self.operate("POST", f"/{project['id']}/keys", 201, json=body))["key"])

    async def given_model(self, project: dict[str, Any], model_id: str, **columns: Any) -> str:
        """A model of the project: ready, unless said otherwise; `columns` are those of its row."""
        row = {"name": model_id, "version": "1.0.0", "is_latest": True, "status": "ready", **columns}
        names, values = ["id", "project_id", *row], [model_id, project["id"], *row.values()]
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        async with connection(self.pool) as tx:
            await tx.execute(f"INSERT INTO model ({', '.join(names)}) VALUES ({places})", *values)
        return model_id

    async def turn(self, model_id: str, status: str) -> None:
        """Bring a model into a status, whatever it is in."""
        async with connection(self.pool) as tx:
            await tx.execute("UPDATE model SET status = $2, status_reason = 'a reason' WHERE id = $1", model_id, status)
