"""The operator's side of the fake server."""

from __future__ import annotations

from typing import Any

from aiohttp import web

NOON = "2026-01-15T12:00:00Z"


class FakeAdmin:
    """Projects and keys; revoking is only recorded as a request."""

    def __init__(self, key: str) -> None:
        self.projects: list[dict[str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self._key = key

    def routes(self) -> list[web.RouteDef]:
        projects = "/admin/v1/projects"
        return [
            web.post(projects, self.create_project),
            web.get(projects, self.list_projects),
            web.delete(f"{projects}/{{project}}", self.revoke),
            web.post(f"{projects}/{{project}}/keys", self.create_key),
            web.get(f"{projects}/{{project}}/keys", self.list_keys),
            web.delete(f"{projects}/{{project}}/keys/{{key}}", self.revoke),
        ]

    async def create_project(self, request: web.Request) -> web.Response:
        name = (await request.json())["name"]
        self.projects.append({"id": f"proj_{name}", "name": name, "slug": name, "created_at": NOON})
        return web.json_response(self.projects[-1])

    async def list_projects(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.projects})

    async def create_key(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.keys.append({"id": f"key_{len(self.keys)}", **wanted})
        return web.json_response({**self.keys[-1], "key": self._key})

    async def list_keys(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.keys})

    async def revoke(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.path.rpartition("/")[2], "revoked": True})
