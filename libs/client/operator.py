"""The operator's calls, except those for projects and keys. Times are RFC 3339, sizes are in bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from libs.client.responses import Page

if TYPE_CHECKING:
    from libs.client.transport import Transport

_ROOT = "/admin/v1"
_LOOK_EVERY_S = 1.0


class Refused(msgspec.Struct, frozen=True):
    """An event that the broker refused."""

    event_id: str
    type: str
    reason: str | None = None
    since: str | None = None


class ServiceStatus(msgspec.Struct, frozen=True):
    """The status of one process."""

    service: str
    instance: str = ""
    version: str = ""
    ready: bool | None = None
    checks: dict[str, bool] = {}
    advice: list[str] = []  # what the operator should set or mend
    outbox_depth: int | None = None
    refused: list[Refused] = []


class Backlog(msgspec.Struct, frozen=True):
    """Events that wait for a service in the broker."""

    service: str
    waiting: int = 0
    in_progress: int = 0


class Status(msgspec.Struct, frozen=True):
    """Every process that answered; `silent`: services known to the broker of which none did."""

    services: list[ServiceStatus]
    silent: list[str] = []
    backlogs: list[Backlog] = []


class Republished(msgspec.Struct, frozen=True):
    """How many events one service publishes again."""

    service: str
    events: int = 0


class Resumed(msgspec.Struct, frozen=True):
    """What is tried again."""

    id: str
    stream_ids: list[str] = []
    validation_id: str | None = None


class AuditRequested(msgspec.Struct, frozen=True):
    """When an audit was asked for; its result is later."""

    at: str
    fix: bool = False


class Audit(msgspec.Struct, frozen=True):
    """The result of a comparison of storage with what is registered."""

    id: str
    at: str
    objects: int
    size_bytes: int
    unclaimed: int  # objects that no model is known to have
    missing: int  # registered objects that are not in storage
    foreign: int  # objects of projects that are not known; never touched
    stopped: str | None = None  # why nothing was deleted
    keys: list[str] = []  # some of the unclaimed ones
    unclaimed_bytes: int = 0
    missing_bytes: int = 0
    cold_objects: int = 0  # of `objects`, those in the cold tier
    cold_bytes: int = 0
    leftovers: int = 0  # second copies, in the tier that is not the object's; they are removed
    leftover_bytes: int = 0
    misplaced: int = 0  # only in the tier that was not recorded, which is corrected
    expiring: int = 0  # that only deleted models have; they go when those are erased
    expiring_bytes: int = 0


class Parked(msgspec.Struct, frozen=True):
    """An upload or a model that waits for something."""

    kind: str  # upload, model
    id: str
    project_id: str
    name: str
    version: str
    waiting_for: str | None = None
    since: str | None = None


class ProjectFeature(msgspec.Struct, frozen=True):
    """A feature, on or off for one project."""

    feature: str
    enabled: bool
    enabled_at: str | None = None


class Member(msgspec.Struct, frozen=True):
    """Somebody who works in a project; from `removed_at` on none of their keys works."""

    id: str
    project_id: str
    name: str
    role: str
    created_at: str | None = None
    removed_at: str | None = None


class Limit(msgspec.Struct, frozen=True):
    """One limit of a project or a key: its own, the installation's, and the one that holds; None: no limit."""

    own: int | str | None = None  # "none": no limit; None: it has none of its own
    default: int | None = None
    maximum: int | None = None


class Limits(msgspec.Struct, frozen=True):
    """The limits of a project, or those that one of its keys has beside them, by name."""

    project_id: str
    key_id: str | None = None
    limits: dict[str, Limit] = {}


class Operator:
    """`/admin/v1` except projects and keys; needs the operator key. Every call raises ApiError or Unreachable."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def status(self) -> Status:
        """The status of every process."""
        return await self._transport.call("GET", f"{_ROOT}/status", Status)

    async def retry_outbox(self, event_ids: Sequence[str] = ()) -> list[Republished]:
        """Publish again what the broker refused: these events, or all."""
        wanted = {"event_ids": list(event_ids)} if event_ids else {}
        return (await self._transport.call("POST", f"{_ROOT}/outbox/retry", Page[Republished], json=wanted)).data

    async def replay(self, *, since: str | None = None, event_ids: Sequence[str] = ()) -> list[Republished]:
        """Publish again what was published: since a moment, or these events."""
        wanted: dict[str, Any] = {"event_ids": list(event_ids)} if event_ids else {}
        if since is not None:
            wanted["since"] = since
        page = await self._transport.call("POST", f"{_ROOT}/replay", Page[Republished], json=wanted, repeatable=False)
        return page.data

    async def resume_upload(self, upload_id: str) -> Resumed:
        """Try a parked upload again now."""
        return await self._transport.call("POST", f"{_ROOT}/uploads/{quote(upload_id, safe='')}/resume", Resumed)

    async def resume_model(self, model_id: str) -> Resumed:
        """Ask for a model's verdict again now."""
        return await self._transport.call("POST", f"{_ROOT}/models/{quote(model_id, safe='')}/resume", Resumed)

    async def parked(self) -> list[Parked]:
        """The uploads and models that wait for something that their clients cannot do."""
        return (await self._transport.call("GET", f"{_ROOT}/parked", Page[Parked])).data

    async def limits(self, project_id: str, key_id: str | None = None) -> Limits:
        """The limits of a project, or of one of its keys."""
        return await self._transport.call("GET", _limits_path(project_id, key_id), Limits)

    async def set_limits(
        self, project_id: str, changes: Mapping[str, int | str | None], key_id: str | None = None
    ) -> Limits:
        """Change limits: a number, "none" for no limit, None for the installation's default."""
        return await self._transport.call("PATCH", _limits_path(project_id, key_id), Limits, json=dict(changes))

    async def audits(self) -> list[Audit]:
        """The last audits, the newest first."""
        return (await self._transport.call("GET", f"{_ROOT}/audit", Page[Audit])).data

    async def audit(self, *, fix: bool = False, wait_s: float = 60) -> Audit | None:
        """Request an audit. Returns: its result, or None if there is none within `wait_s` seconds.

        With `fix`, what no model is known to have is removed.
        """
        body = {"fix": fix}
        asked = await self._transport.call("POST", f"{_ROOT}/audit", AuditRequested, json=body, repeatable=False)
        looks = max(1, round(wait_s / _LOOK_EVERY_S))
        for _ in range(looks):
            found = [audit for audit in await self.audits() if audit.at > asked.at]
            if found:
                return found[-1]  # the first one after the question
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def features(self, project_id: str) -> list[ProjectFeature]:
        """Every feature that there is, on or off for this project."""
        return (await self._transport.call("GET", f"{_project(project_id)}/features", Page[ProjectFeature])).data

    async def enable_feature(self, project_id: str, feature: str) -> ProjectFeature:
        """Switch a feature on for a project."""
        path = f"{_project(project_id)}/features/{quote(feature, safe='')}"
        return await self._transport.call("PUT", path, ProjectFeature)

    async def disable_feature(self, project_id: str, feature: str) -> ProjectFeature:
        """Switch a feature off for a project."""
        path = f"{_project(project_id)}/features/{quote(feature, safe='')}"
        return await self._transport.call("DELETE", path, ProjectFeature)

    async def members(self, project_id: str) -> list[Member]:
        """Every member of a project, removed ones too, in order of creation."""
        return (await self._transport.call("GET", f"{_project(project_id)}/members", Page[Member])).data

    async def add_member(self, project_id: str, name: str, role: str = "member") -> Member:
        """Add somebody to a project; not repeated once the server may have done it."""
        body = {"name": name, "role": role}
        path = f"{_project(project_id)}/members"
        return await self._transport.call("POST", path, Member, json=body, repeatable=False)

    async def set_member_role(self, project_id: str, member_id: str, role: str) -> Member:
        """Give a member a role; their keys have at most that from now on."""
        path = f"{_project(project_id)}/members/{quote(member_id, safe='')}"
        return await self._transport.call("PATCH", path, Member, json={"role": role})

    async def remove_member(self, project_id: str, member_id: str) -> Member:
        """Remove a member and revoke their keys."""
        path = f"{_project(project_id)}/members/{quote(member_id, safe='')}"
        return await self._transport.call("DELETE", path, Member)


def _project(project_id: str) -> str:
    return f"{_ROOT}/projects/{quote(project_id, safe='')}"


def _limits_path(project_id: str, key_id: str | None) -> str:
    of_key = f"/keys/{quote(key_id, safe='')}" if key_id else ""
    return f"{_project(project_id)}{of_key}/limits"
