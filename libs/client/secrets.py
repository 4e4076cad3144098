"""Credentials that a project keeps for imports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from libs.client.paging import AsyncItems
from libs.client.responses import Page, Secret

if TYPE_CHECKING:
    from libs.client.transport import Transport


class Secrets:
    """`secrets` of the public API. Every call raises ApiError or Unreachable; no answer has a secret's value."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        name: str,
        type: Literal["s3", "azure"],  # noqa: A002  # as the field is called
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        account_key: str | None = None,
        sas_token: str | None = None,
    ) -> Secret:
        """Keep a secret, or replace the one of that name: imports that wait for it go on with the new value.

        Of the type s3: `access_key_id`, `secret_access_key`, and `session_token` where they are temporary; of the type
        azure: `account_key` or `sas_token`.
        """
        values = {
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
            "account_key": account_key,
            "sas_token": sas_token,
        }
        body = {"name": name, "type": type} | {field: value for field, value in values.items() if value is not None}
        return await self._transport.call("POST", "secrets", Secret, json=body)

    def list(self) -> AsyncItems[Secret]:
        """The project's secrets by name, without their values."""

        async def fetch(query: Mapping[str, str]) -> Page[Secret]:
            return await self._transport.call("GET", "secrets", Page[Secret])

        return AsyncItems(fetch, lambda secret: secret.name)

    async def delete(self, name: str) -> None:
        """Delete a secret; imports that are under way with it wait for a new one. Raises: NotFoundError."""
        path = f"secrets/{quote(name, safe='')}"
        await self._transport.call("DELETE", path, dict[str, Any], repeatable=False)
