"""Projects and their keys, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from libs.client.responses import Key, Page, Project

if TYPE_CHECKING:
    from libs.client.transport import Transport

_ROOT = "/admin/v1/projects"


class Projects:
    """`/admin/v1/projects`, which takes the operator key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, name: str) -> Project:
        """Make a project; not repeated once the server may have made it."""
        return await self._transport.call("POST", _ROOT, Project, json={"name": name}, repeatable=False)

    async def all(self) -> list[Project]:
        """Every project, revoked ones too, in order of creation."""
        return (await self._transport.call("GET", _ROOT, Page[Project])).data

    async def revoke(self, project_id: str) -> None:
        """Disable a project; its keys stop working at once."""
        await self._transport.call("DELETE", _path(project_id), dict[str, Any])

    async def delete(self, project_id: str, confirm: str) -> Project:
        """Delete a project with everything of it, for good; `confirm` is its name. The rest of it goes by and by."""
        return await self._transport.call("POST", f"{_path(project_id)}/delete", Project, json={"confirm": confirm})

    async def create_key(self, project_id: str, **wanted: Any) -> Key:
        """Make a key; `wanted`: name, scopes, role, member_id, expires_at. Its `key` is answered this once."""
        body = {name: value for name, value in wanted.items() if value is not None}
        return await self._transport.call("POST", f"{_path(project_id)}/keys", Key, json=body, repeatable=False)

    async def keys(self, project_id: str) -> list[Key]:
        """Every key of a project, expired and revoked ones too, each without its `key`."""
        return (await self._transport.call("GET", f"{_path(project_id)}/keys", Page[Key])).data

    async def revoke_key(self, project_id: str, key_id: str) -> None:
        """Revoke a key; it stops working at once."""
        await self._transport.call("DELETE", f"{_path(project_id)}/keys/{quote(key_id, safe='')}", dict[str, Any])


def _path(project_id: str) -> str:
    return f"{_ROOT}/{quote(project_id, safe='')}"
