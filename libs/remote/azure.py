"""Reads containers of Azure Blob Storage.

Source: Microsoft's "Blob Storage REST API", List Blobs, Get Blob, "Authorize with Shared Key" and "Status and error
codes". With an account's key each request is signed; a SAS token is part of each request's query; without either, the
requests are those that public containers want.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from libs.remote.credentials import AzureCredentials
from libs.remote.location import Location
from libs.remote.store import RemoteObject, Store, plain_etag
from libs.remote.transport import Answered, Transport, explain

API_VERSION: Final = "2021-12-02"
PAGE: Final = 1000
# In the order in which a signature has them
_SIGNED_HEADERS: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


class AzureStore(Store):
    """A container."""

    def __init__(
        self, transport: Transport, location: Location, secret: str | None, credentials: AzureCredentials | None
    ) -> None:
        super().__init__(transport, location, secret)
        self._credentials = credentials or AzureCredentials()

    async def objects(self) -> AsyncGenerator[RemoteObject, None]:
        """As `Store.objects`; what stands for a folder is left out."""
        query = {"restype": "container", "comp": "list", "prefix": self.location.prefix, "maxresults": str(PAGE)}
        while True:
            try:
                root = await self._transport.page(*self._signed("", query, {}))
            except Answered as answered:
                explain(answered, where=self.location.where, what="the list", secret=self._secret)
            for entry in root.iterfind("Blobs/Blob"):
                name = entry.find("Name")
                if name is None or entry.findtext("Properties/ResourceType") == "directory":
                    continue
                text = name.text or ""
                yield RemoteObject(
                    key=unquote(text) if name.get("Encoded") == "true" else text,
                    size_bytes=int(entry.findtext("Properties/Content-Length") or 0),
                    etag=plain_etag(entry.findtext("Properties/Etag") or ""),
                )
            marker = root.findtext("NextMarker")
            if not marker:
                return
            query = {**query, "marker": marker}

    def _request(self, key: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        return self._signed(f"/{quote(key, safe='/~')}", {}, headers)

    def _signed(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The URL of what is below the container, and the request's headers."""
        url = f"{self.location.endpoint}/{quote(self.location.container)}{path}"
        parts = [urlencode(query, quote_via=quote)] if query else []
        if self._credentials.sas_token is not None:
            parts.append(self._credentials.sas_token)
        if parts:
            url += f"?{'&'.join(parts)}"
        sent = {**headers, "x-ms-version": API_VERSION, "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True)}
        if self._credentials.account_key is not None:
            sent["Authorization"] = shared_key("GET", url, sent, self._credentials.account_key)
        return url, sent


def shared_key(method: str, url: str, headers: Mapping[str, str], account_key: str) -> str:
    """The header `Authorization` of a request by an account's key, which is base64."""
    parts = urlsplit(url)
    account = account_of(url)
    lowered = {name.lower(): value for name, value in headers.items()}
    named = "".join(f"{name}:{lowered[name]}\n" for name in sorted(lowered) if name.startswith("x-ms-"))
    query = "".join(
        f"\n{name.lower()}:{value}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    listed = [method, *(lowered.get(name, "") for name in _SIGNED_HEADERS)]
    text = "\n".join(listed) + f"\n{named}/{account}{parts.path}{query}"
    digest = hmac.digest(base64.b64decode(account_key), text.encode(), hashlib.sha256)
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


def account_of(url: str) -> str:
    """The account that a URL is of: ACCOUNT.blob.…; elsewhere (Azurite) the path begins with it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ".blob." in host:
        return host.partition(".")[0]
    return parts.path.lstrip("/").partition("/")[0]
