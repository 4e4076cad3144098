"""The operator's side of the fake server."""

from __future__ import annotations

from typing import Any

from aiohttp import web

NOON = "2026-01-15T12:00:00Z"


class FakeAdmin:
    """Projects and keys; revoking is only recorded as a request. What else operators ask has one answer each."""

    def __init__(self, key: str) -> None:
        self.projects: list[dict[str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self.audits: list[dict[str, Any]] = []
        self.parked: list[dict[str, Any]] = []
        self.services: list[dict[str, Any]] = []
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
            web.get("/admin/v1/status", self.status),
            web.post("/admin/v1/outbox/retry", self.publish_again),
            web.post("/admin/v1/replay", self.publish_again),
            web.post("/admin/v1/uploads/{id}/resume", self.resume),
            web.post("/admin/v1/models/{id}/resume", self.resume),
            web.get("/admin/v1/parked", self.list_parked),
            web.get("/admin/v1/audit", self.list_audits),
            web.post("/admin/v1/audit", self.audit),
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

    async def status(self, _: web.Request) -> web.Response:
        backlogs = [{"service": "extractor", "waiting": 12, "in_progress": 0}]
        return web.json_response({"services": self.services, "silent": ["extractor"], "backlogs": backlogs})

    async def publish_again(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        events = len(wanted.get("event_ids") or ()) or 7
        return web.json_response({"object": "list", "data": [{"service": "gateway", "events": events}]})

    async def resume(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        resumed = {"stream_ids": [f"{name}-0"]} if "/uploads/" in request.path else {"validation_id": "v"}
        return web.json_response({"id": name, **resumed}, status=202)

    async def list_parked(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.parked})

    async def list_audits(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.audits})

    async def audit(self, request: web.Request) -> web.Response:
        """The result is there at once, half an hour later by the server's clock."""
        fix = (await request.json())["fix"]
        stopped = None if fix else "9 of 10 objects are unknown."
        hour = 12 + len(self.audits)
        self.audits.insert(0, audit_of(f"2026-01-15T{hour}:30:00+00:00", stopped=stopped))
        return web.json_response({"at": f"2026-01-15T{hour}:00:00+00:00", "fix": fix}, status=202)


def audit_of(at: str, stopped: str | None = None) -> dict[str, Any]:
    """What an audit found, as the server shows it."""
    found = {"objects": 10, "size_bytes": 5_000_000, "unclaimed": 9, "missing": 1, "foreign": 0}
    return {"id": f"a-{at}", "at": at, **found, "stopped": stopped, "keys": ["proj_TEST01/objects/u/f0-0"]}
