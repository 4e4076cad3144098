"""Reads buckets of S3, and of stores that speak its protocol.

Source: Amazon S3 API reference, ListObjectsV2, GetObject, Error responses. Requests are presigned, so that credentials
are in none of their headers; without credentials they are sent unsigned, as public buckets want them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from urllib.parse import urlunsplit
from xml.etree.ElementTree import Element

import msgspec
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.helpers import BaseURL
from minio.signer import presign_v4

from libs.remote.credentials import S3Credentials
from libs.remote.errors import SourceRefused
from libs.remote.location import DEFAULT_REGION, Location
from libs.remote.store import RemoteObject, Store, plain_etag
from libs.remote.transport import Answered, Transport, explain

SIGNED_FOR_S = 3600
PAGE = 1000


class S3Store(Store):
    """A bucket."""

    def __init__(
        self, transport: Transport, location: Location, secret: str | None, credentials: S3Credentials | None
    ) -> None:
        super().__init__(transport, location, secret)
        self._credentials = credentials
        self._base = self._base_of(location)

    @staticmethod
    def _base_of(location: Location) -> BaseURL:
        try:
            return BaseURL(location.endpoint, location.region)
        except ValueError:
            raise SourceRefused("'endpoint' and 'region' make no address of a store.", param="endpoint") from None

    async def objects(self) -> AsyncGenerator[RemoteObject, None]:
        """As `Store.objects`. A bucket of Amazon's that is in another region is read there; `location` says so then."""
        query = {"list-type": "2", "prefix": self.location.prefix, "max-keys": str(PAGE)}
        while True:
            root = await self._page(query)
            for entry in root.iterfind("{*}Contents"):
                yield RemoteObject(
                    key=entry.findtext("{*}Key") or "",
                    size_bytes=int(entry.findtext("{*}Size") or 0),
                    etag=plain_etag(entry.findtext("{*}ETag") or ""),
                )
            token = root.findtext("{*}NextContinuationToken")
            if root.findtext("{*}IsTruncated") != "true" or not token:
                return
            query = {**query, "continuation-token": token}

    async def _page(self, query: Mapping[str, str]) -> Element:
        try:
            return await self._transport.page(self._url(None, query))
        except Answered as answered:
            region = answered.region
            if region and region != self.location.region and self._base.is_aws_host:
                self.location = msgspec.structs.replace(
                    self.location,
                    region=region,
                    endpoint=self.location.endpoint.replace(f".{self.location.region}.", f".{region}."),
                )
                self._base = self._base_of(self.location)
                return await self._page(query)
            explain(answered, where=self.location.where, what="the list", secret=self._secret)

    def _request(self, key: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        return self._url(key, {}), dict(headers)

    def _url(self, key: str | None, query: Mapping[str, str]) -> str:
        region = self.location.region or DEFAULT_REGION
        session_token = self._credentials.session_token if self._credentials else None
        if session_token is not None:
            query = {**query, "X-Amz-Security-Token": session_token}
        url = self._base.build(
            method="GET",
            region=region,
            bucket_name=self.location.container,
            object_name=key,
            query_params=dict(query),
        )
        if self._credentials is None:
            return urlunsplit(url)
        signed = presign_v4(
            method="GET",
            url=url,
            region=region,
            credentials=MinioCredentials(self._credentials.access_key_id, self._credentials.secret_access_key),
            date=datetime.now(UTC),
            expires=SIGNED_FOR_S,
        )
        return urlunsplit(signed)
